"""A run that is cut off after any step and resumed ends bit by bit as one that was not.

The real stages, loaders, trainer and checkpoints; only the cut is made here.
"""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from bigquery_server import DATASET
from bigquery_tables import hcpe_table
from maou.checkpoint.config import CheckpointConfig
from maou.checkpoint.hook import CheckpointHook
from maou.checkpoint.resume import find_resume_point, restore
from maou.cli.main import cli
from maou.config import RunConfig
from maou.data.config import DataConfig
from maou.model.config import ModelConfig
from maou.optim.config import SCHEDULES
from maou.prepared import Prepared, fetch_as_needed, prepare_stages
from maou.settings import as_plain
from maou.sources.bigquery_schema import HCPE_COLUMNS
from maou.sources.config import SourceConfig, StageSourceConfig
from maou.stages import stages_of
from maou.train.config import StageConfig, TrainConfig
from maou.train.device import resolve_compute
from maou.train.hooks import Hook
from maou.train.state import TrainState

EPOCHS = 3


class _CutError(Exception):
    """The end of a run that is cut off."""


@dataclasses.dataclass
class _CutAfter(Hook):
    step: int

    def on_step(self, state, sums, waited) -> None:
        if state.step == self.step:
            raise _CutError


@pytest.fixture(scope="module")
def data(tmp_path_factory, selfplay_rows) -> Path:
    """Three hcpe shards, preprocess records of them, and both stages' records."""
    root = tmp_path_factory.mktemp("resume")
    (root / "hcpe").mkdir()
    for number, count in enumerate((106, 94, 115)):
        begin = 5000 * number
        rows = selfplay_rows[begin : begin + count]
        (root / "hcpe" / f"{number}.hcpe").write_bytes(rows.tobytes())
    shards = ("--input-path", str(root / "hcpe"))
    for arguments in (
        ("pre-process", *shards, "--output-dir", str(root / "preprocess")),
        ("utility", "generate-stage1-data", "--output-dir", str(root / "stage1")),
        ("utility", "generate-stage2-data", *shards, "--output-dir", str(root / "s2")),
    ):
        assert CliRunner().invoke(cli, arguments).exit_code == 0
    return root


def _config(root: Path, kind: str, **changed: object) -> RunConfig:
    """Configure six or seven steps of training in three epochs."""
    model = {"resnet_blocks": 1, "resnet_channels": 8}
    if kind == "vit":  # draws from torch's generator at every step (dropout)
        model = {"model_architecture": "vit", "vit_embed_dim": 16, "vit_num_layers": 1}
        model |= {"vit_num_heads": 2}
    sources = {
        "preprocess": SourceConfig(
            input_path=root / "preprocess",
            input_format="preprocess",
            input_file_packed=True,
        ),
    }
    stages = {
        "stage1": StageConfig(stage="1", stage1_threshold=1.0, stage1_max_epochs=3),
        "stage2": StageConfig(stage="2", stage2_threshold=1.0, stage2_max_epochs=3),
    }
    batch_size = 300 if kind == "stage1" else 65
    config = RunConfig(
        source=sources.get(kind, SourceConfig(input_path=root / "hcpe")),
        data=DataConfig(batch_size=batch_size, mirror_probability=0.3, shuffle_rows=49),
        model=ModelConfig(**model),
        train=TrainConfig(
            epochs=EPOCHS, gradient_accumulation_steps=2, early_stopping_patience=2
        ),
        stages=stages.get(kind, StageConfig()),
        stage_source=StageSourceConfig(
            stage1_data_path=root / "stage1", stage2_data_path=root / "s2"
        )
        if kind in stages
        else StageSourceConfig(),
    )
    parts = {
        name: dataclasses.replace(getattr(config, name), **values)
        for name, values in changed.items()
    }
    return dataclasses.replace(config, **parts)


def _prepare(config: RunConfig) -> Prepared:
    compute = resolve_compute("cpu", config.train.precision)
    prepared = prepare_stages(stages_of(config), compute, early=True)
    fetch_as_needed(prepared, None)
    return prepared[0]


def _fresh(prepared: Prepared) -> TrainState:
    """Begin again from the first weights, as another process would."""
    torch.manual_seed(prepared.stage.config.data.seed)
    network = prepared.stage.build()
    return dataclasses.replace(prepared, network=network).state()


def _everything(state: TrainState) -> dict[str, object]:
    """All that a resumed run has to have alike."""
    plain = {
        name: getattr(state, name)
        for name in ("epoch", "step", "batches", "rows", "before", "best", "last")
    }
    scaling = None if state.scaler is None else state.scaler.state_dict()
    return {
        **plain,
        "network": copy.deepcopy(state.network.state_dict()),
        "optimizer": copy.deepcopy(state.optimizer.state_dict()),
        "generator": torch.get_rng_state(),
        "numbers": dataclasses.asdict(state.numbers),
        "micro_batch": state.micro_batch,
        "scaling": scaling,
    }


def _same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        assert isinstance(second, dict)
        assert first.keys() == second.keys()
        return all(_same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        assert isinstance(second, (list, tuple))
        return all(_same(a, b) for a, b in zip(first, second, strict=True))
    return first == second


def _check_every_cut(
    prepared: Prepared,
    folder: Path,
    cuts: Sequence[int] = (),
    micro_batch: int | None = None,
) -> TrainState:
    trainer, config = prepared.trainer, prepared.stage.config
    whole = _fresh(prepared)
    whole.micro_batch = micro_batch  # as if memory had run out
    trainer.fit(whole, [])
    expected = _everything(whole)
    assert whole.step >= EPOCHS
    every_step = CheckpointConfig(checkpoint_interval="1steps")
    record = {
        "stage": prepared.stage.number,
        "data_fingerprint": "",
        **as_plain(config),
    }
    for cut in cuts or range(1, whole.step + 1):
        run_folder = folder / f"cut-{cut}"
        state = _fresh(prepared)
        state.micro_batch = micro_batch
        hooks = [CheckpointHook(run_folder, record, every_step), _CutAfter(cut)]
        with pytest.raises(_CutError):
            trainer.fit(state, hooks)
        resumed = _fresh(prepared)
        torch.manual_seed(12345)  # whatever another process has drawn
        point = find_resume_point(str(run_folder), folder)
        restore(resumed, point.folder, trainer.task.metrics)
        assert resumed.step == cut
        trainer.take_place(resumed, same_data=True)
        trainer.fit(resumed, [])
        assert _same(_everything(resumed), expected), f"cut after step {cut}"
    return whole


@pytest.mark.parametrize(
    ("kind", "streaming"),
    [
        *(("hcpe", True), ("hcpe", False), ("preprocess", True), ("preprocess", False)),
        *(("stage1", True), ("stage1", False), ("stage2", True), ("stage2", False)),
        ("vit", True),
    ],
)
def test_every_step_of_every_kind(data, tmp_path, kind, streaming):
    config = _config(data, kind, data={"streaming": streaming})
    _check_every_cut(_prepare(config), tmp_path)


@pytest.mark.parametrize("streaming", [True, False])
def test_every_step_of_a_bucket(data, store, tmp_path, streaming):
    """Of shards that arrive while the first epoch is trained, when it is streamed."""
    store.upload(data / "hcpe", tmp_path.name)
    source = store.source(tmp_path.name, tmp_path / "cache")
    config = _config(data, "hcpe", data={"streaming": streaming})
    prepared = _prepare(dataclasses.replace(config, source=source))
    assert (prepared.data.shards.arriving is not None) is streaming
    _check_every_cut(prepared, tmp_path)


@pytest.mark.parametrize("streaming", [True, False])
def test_every_step_of_a_table(data, bigquery, tmp_path, streaming):
    name = f"resume_{streaming}"
    bigquery.create(name, HCPE_COLUMNS[:6])
    for path in sorted((data / "hcpe").iterdir()):
        rows = np.fromfile(path, dtype=np.uint8).reshape(-1, 38)
        bigquery.append(name, hcpe_table(rows))
    source = SourceConfig(
        input_dataset_id=DATASET, input_table_name=name, input_batch_size=120
    )
    config = _config(data, "hcpe", data={"streaming": streaming})
    _check_every_cut(_prepare(dataclasses.replace(config, source=source)), tmp_path)


@pytest.mark.parametrize("scheduler", SCHEDULES)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_every_scheduler_and_optimizer(data, tmp_path, scheduler, optimizer):
    changed = {"lr_scheduler": scheduler, "optimizer": optimizer, "learning_rate": 0.02}
    _check_every_cut(_prepare(_config(data, "hcpe", optim=changed)), tmp_path)


def test_early_stopping_stops_at_the_same_epoch(data, tmp_path):
    worse = {"learning_rate": 3.0, "optimizer": "sgd", "lr_scheduler": "none"}
    impatient = {"epochs": 9, "early_stopping_patience": 1}
    prepared = _prepare(_config(data, "hcpe", optim=worse, train=impatient))
    _check_every_cut(prepared, tmp_path)
    whole = _fresh(prepared)
    prepared.trainer.fit(whole, [])
    assert 0 < whole.epoch < 9


@pytest.mark.parametrize("streaming", [True, False])
def test_every_step_with_two_workers(data, tmp_path, streaming):
    workers = {"dataloader_workers": 2, "streaming": streaming}
    with_workers = _prepare(_config(data, "hcpe", data=workers))
    _check_every_cut(with_workers, tmp_path)


def test_parts_of_batches_that_did_not_fit_in_memory(data, tmp_path):
    prepared = _prepare(_config(data, "vit"))
    assert _check_every_cut(prepared, tmp_path, (2, 5), 37).micro_batch == 37


def test_overflows_and_skipped_spikes(data, tmp_path):
    """Steps that were left out, the loss scale and the median are gone on from too."""
    train = {"epochs": 1, "gradient_accumulation_steps": 1}
    config = _config(
        *(data, "hcpe"),
        data={"batch_size": 5},
        train={**train, "precision": "fp16", "skip_loss_spikes": 1.01},
        loss={"policy_loss_ratio": 100.0},
        optim={"learning_rate": 0.1, "lr_scheduler": "none"},
    )
    whole = _check_every_cut(_prepare(config), tmp_path, (5, 30))
    assert whole.numbers.overflows > 0
    assert whole.numbers.skipped_spikes > 0
    assert whole.scaler.get_scale() < 65536
