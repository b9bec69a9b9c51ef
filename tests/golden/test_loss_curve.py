"""The loss curve of a tiny network: the same twice, with workers, and as recorded.

`MAOU_RECORD_GOLDEN=1 pytest tests/golden/test_loss_curve.py` writes it anew: do so only
when a change is meant to change what training computes.
"""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import torch

from maou.data.config import DataConfig
from maou.data.pipeline import prepare_data
from maou.losses.config import LossConfig
from maou.model.config import ModelConfig
from maou.model.network import build_network
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer
from maou.sources.local import open_local_shards
from maou.train.config import TrainConfig
from maou.train.device import resolve_compute
from maou.train.hooks import Hook
from maou.train.loop import Trainer
from maou.train.state import TrainState
from maou.train.step import StepSums
from maou.train.task import PolicyValueTask

RECORDED = Path(__file__).parent / "loss_curve.json"
STEPS, BATCH = 20, 48


class _Curve(Hook):
    def __init__(self) -> None:
        self.losses: list[list[float]] = []

    def on_step(self, state: TrainState, sums: StepSums, waited: float) -> None:
        self.losses.append((sums.sums[:3] / sums.rows).tolist())


@pytest.fixture(scope="module")
def shards(tmp_path_factory, selfplay_rows) -> Path:
    """Three raw shards whose training side gives 20 batches."""
    folder = tmp_path_factory.mktemp("shards")
    for number, rows in enumerate((480, 480, 480)):
        begin = 5000 * number
        (folder / f"{number}.hcpe").write_bytes(
            selfplay_rows[begin : begin + rows].tobytes()
        )
    return folder


def curve(shards: Path, *, streaming: bool, workers: int = 0) -> list[list[float]]:
    """Train 20 steps and return total, policy and value loss of each."""
    data_config = DataConfig(
        batch_size=BATCH, streaming=streaming, dataloader_workers=workers, seed=1
    )
    data = prepare_data(open_local_shards(shards), data_config)
    torch.manual_seed(1)
    network = build_network(ModelConfig(resnet_blocks=2, resnet_channels=32))
    state = TrainState(
        network, build_optimizer(network.named_parameters(), OptimConfig())
    )
    trainer = Trainer(
        training=data.train_loader,
        validation=data.validation_batches,
        batch_size=BATCH,
        train=TrainConfig(epochs=1),
        task=PolicyValueTask(LossConfig()),
        optim=OptimConfig(),
        compute=resolve_compute("cpu"),
    )
    found = _Curve()
    trainer.train_epoch(state, network, [found])
    return found.losses


@pytest.fixture(scope="module")
def streamed(shards) -> list[list[float]]:
    return curve(shards, streaming=True)


def processor() -> str:
    """Name the processor: torch's libraries choose their kernels by it."""
    text = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    names = ("vendor_id", "cpu family", "model", "stepping")
    found = dict(
        re.findall(r"^([^\t:]+)\t*: (.*)$", text.split("\n\n")[0], re.MULTILINE)
    )
    return " ".join(found.get(name, "?") for name in names)


def test_curve_is_the_recorded_one(streamed):
    assert len(streamed) == STEPS
    machine = [torch.__version__, torch.backends.cpu.get_cpu_capability(), processor()]
    if os.environ.get("MAOU_RECORD_GOLDEN"):
        text = json.dumps({"machine": machine, "losses": streamed}, indent=1)
        RECORDED.write_text(text + "\n")
    recorded = json.loads(RECORDED.read_text())
    if recorded["machine"] == machine:
        assert streamed == recorded["losses"]
    # Another processor sums in another order; the course is the same.
    torch.testing.assert_close(
        torch.tensor(streamed), torch.tensor(recorded["losses"]), rtol=1e-3, atol=1e-3
    )


def test_curve_falls(streamed):
    first, last = streamed[0][0], streamed[-1][0]
    assert last < first - 0.5


def test_curve_is_bitwise_the_same_twice(shards, streamed):
    assert curve(shards, streaming=True) == streamed


@pytest.mark.parametrize("streaming", [True, False])
def test_curve_is_bitwise_the_same_with_two_workers(shards, streamed, streaming):
    alone = streamed if streaming else curve(shards, streaming=False)
    assert curve(shards, streaming=streaming, workers=2) == alone
