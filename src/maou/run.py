"""The composition root of `maou learn-model`: builds the journey, owns nothing else."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from maou import __version__
from maou.checkpoint.hook import CheckpointHook
from maou.checkpoint.load import load_checkpoint
from maou.checkpoint.save import BEST
from maou.config import RunConfig
from maou.data.pipeline import TrainingData, prepare_data
from maou.errors import ConfigError, TrainingError
from maou.export.interface import SETTINGS_KEY
from maou.export.onnx import export_onnx, verify_onnx
from maou.files import atomic_write
from maou.logs.health import HealthHook
from maou.logs.metrics_file import MetricsFile
from maou.logs.report import Reporter, Summary
from maou.logs.tensorboard import TensorBoard
from maou.model.network import build_network
from maou.optim.optimizer import build_optimizer
from maou.plan import make_plan
from maou.settings import as_plain
from maou.sources.local import ShardSet, open_local_shards
from maou.train.device import resolve_compute
from maou.train.hooks import Hook
from maou.train.loop import Trainer
from maou.train.metrics import PolicyValueMetrics
from maou.train.state import TrainState

VERIFIED_POSITIONS = 256
"""Validation positions on which the exported model is compared with the network."""


@dataclass(frozen=True)
class RunFolders:
    """Where a run writes: `<log-dir>/<name>` and `<model-dir>/<name>`."""

    logs: Path
    models: Path


def learn(config: RunConfig, reporter: Reporter) -> Summary:
    """Train a network as configured.

    Raises:
        ConfigError: settings that cannot be meant, such as a device that is absent.
        DataError: shards that cannot be read or split.
        TrainingError: training diverged.
    """
    compute = resolve_compute(config.train.gpu)
    shards = open_local_shards(config.source.input_path)
    data = prepare_data(shards, config.data, config.source.input_cache_mode)
    torch.manual_seed(config.data.seed)
    network = build_network(config.model).to(compute.device)
    state = TrainState(
        network, build_optimizer(network.named_parameters(), config.optim)
    )
    trainer = Trainer(
        training=data.train_loader,
        validation=data.validation_batches,
        batch_size=config.data.batch_size,
        train=config.train,
        loss=config.loss,
        optim=config.optim,
        compute=compute,
    )
    reporter.plan(make_plan(config, data, trainer, network))
    folders = _make_folders(config)
    record = _record(config, shards)
    _write_record(folders.models / "run.json", record)
    before = _Before(reporter)
    board = TensorBoard(folders.logs, json.dumps(record, indent=2))
    file = MetricsFile(folders.logs / "metrics.jsonl")
    listeners = (reporter.health, board.health, file.health)
    hooks: list[Hook] = [
        HealthHook(trainer.total_steps, config.logs.health_interval, listeners),
        CheckpointHook(folders.models, record),
        board,
        file,
        before,
    ]
    trainer.fit(state, hooks)
    summary = _finish(folders, data, state, before)
    reporter.finished(summary)
    return summary


@dataclass
class _Before(Hook):
    """Keeps the untrained network's metrics and passes epochs to the reporter."""

    reporter: Reporter
    metrics: list[PolicyValueMetrics] = field(default_factory=list)

    def on_start(self, state: TrainState, before: PolicyValueMetrics) -> None:
        self.metrics.append(before)
        self.reporter.epoch(0, before, is_best=False)

    def on_epoch(
        self, state: TrainState, metrics: PolicyValueMetrics, *, is_best: bool
    ) -> None:
        self.reporter.epoch(state.epoch, metrics, is_best=is_best)


def _finish(
    folders: RunFolders, data: TrainingData, state: TrainState, before: _Before
) -> Summary:
    """Export the best network, compare it with its checkpoint, and sum up."""
    if state.best is None:
        raise TrainingError("no epoch gave a finite validation loss")
    best = load_checkpoint(folders.models / BEST)
    path = folders.models / "best.onnx"
    metadata = {
        "training.step": str(best.state["step"]),
        "training.epoch": str(best.state["epoch"]),
        "training.rows": str(best.state["rows"]),
        SETTINGS_KEY: json.dumps(
            {name: best.state["settings"][name] for name in ("loss", "data")}
        ),
    }
    export_onnx(best.network, path, metadata=metadata)
    batch = next(iter(data.validation_batches.batches(0)))
    board_BS = batch.board_BS[:VERIFIED_POSITIONS]
    hand_BH = batch.hand_BH[:VERIFIED_POSITIONS]
    return Summary(
        before=before.metrics[0],
        after=state.best,
        best_epoch=state.best_epoch,
        checkpoint=folders.models / BEST,
        onnx=path,
        tensorboard=folders.logs,
        onnx_difference=verify_onnx(path, best.network, board_BS, hand_BH),
    )


def _make_folders(config: RunConfig) -> RunFolders:
    """Make the run's two folders under a name that no earlier run has.

    Raises:
        ConfigError: they cannot be made.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    base = f"{config.model.model_architecture}_training_log_{stamp}"
    for attempt in range(1000):
        name = base if attempt == 0 else f"{base}-{attempt}"
        folders = RunFolders(
            config.logs.log_dir / name, config.checkpoint.model_dir / name
        )
        try:
            folders.models.mkdir(parents=True)
            folders.logs.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(
                f"--log-dir / --model-dir: {error.filename}: {error.strerror}; name a "
                "folder that can be written"
            ) from error
        return folders
    raise ConfigError(f"--model-dir: no free name like {base}")


def _record(config: RunConfig, shards: ShardSet) -> dict[str, object]:
    return {
        "maou_version": __version__,
        "torch_version": torch.__version__,
        "data_fingerprint": shards.fingerprint(),
        **as_plain(config),
    }


def _write_record(path: Path, record: dict[str, object]) -> None:
    with atomic_write(path) as stream:
        stream.write((json.dumps(record, indent=2) + "\n").encode())
