"""Compilation: two graphs a run, whatever the backbone, and the same results."""

from pathlib import Path

import numpy as np
import pytest
import torch

from maou.data.config import DataConfig
from maou.data.pipeline import prepare_data
from maou.losses.config import LossConfig
from maou.model.config import BACKBONE_NAMES, FreezeConfig, ModelConfig
from maou.model.freezing import freeze
from maou.model.network import build_network
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer
from maou.sources.local import open_local_shards
from maou.train.compiled import CompiledForward
from maou.train.config import TrainConfig
from maou.train.device import resolve_compute
from maou.train.loop import Trainer
from maou.train.state import TrainState
from maou.train.task import PolicyValueTask

SIZES = {
    "resnet_blocks": 1,
    "resnet_channels": 8,
    "mixer_embed_dim": 8,
    "mixer_num_layers": 1,
    "mixer_token_dim": 8,
    "vit_embed_dim": 8,
    "vit_num_layers": 1,
    "vit_num_heads": 2,
}


@pytest.fixture
def shards(tmp_path: Path, selfplay_rows) -> Path:
    for number in range(3):
        rows = selfplay_rows[number * 90 : (number + 1) * 90]
        (tmp_path / f"{number}.hcpe").write_bytes(np.ascontiguousarray(rows).tobytes())
    return tmp_path


@pytest.mark.parametrize(
    ("name", "trainable"), [*((name, None) for name in BACKBONE_NAMES), ("vit", 0)]
)
def test_epochs_of_the_loop_never_recompile(shards, name, trainable):
    """All of it but the last step of compilation, which does not look at shapes."""
    config = DataConfig(batch_size=32, test_ratio=0.4)
    data = prepare_data(open_local_shards(shards), config)
    network = build_network(
        ModelConfig(model_architecture=name, gradient_checkpointing=True, **SIZES)
    )
    freeze(network, FreezeConfig(trainable_layers=trainable))
    state = TrainState(
        network, build_optimizer(network.named_parameters(), OptimConfig())
    )
    trainer = Trainer(
        training=data.train_loader,
        validation=data.validation_batches,
        batch_size=32,
        train=TrainConfig(gradient_accumulation_steps=2),
        task=PolicyValueTask(LossConfig()),
        optim=OptimConfig(),
        compute=resolve_compute("cpu"),
    )
    sizes = [len(batch) for batch in data.train_loader.batches(0)]
    assert 32 in sizes
    assert sizes[-1] < 32
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    forward = CompiledForward(network, 32, backend="aot_eager")
    trainer.validate(network, forward)
    trainer.train_epoch(state, forward, [])
    assert counters["stats"]["unique_graphs"] == 2
    with torch._dynamo.config.patch(error_on_recompile=True):
        for epoch in (1, 2):
            trainer.validate(network, forward)
            state.epoch, state.batches = epoch, 0
            trainer.train_epoch(state, forward, [])
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]
