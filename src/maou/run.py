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
from maou.checkpoint.warm_start import warm_start
from maou.config import RunConfig
from maou.config_file import write_config
from maou.data.pipeline import TrainingData, open_data, prepare_data
from maou.errors import ConfigError
from maou.export.interface import SETTINGS_KEY
from maou.export.onnx import export_onnx, verify_onnx
from maou.files import atomic_write
from maou.logs.health import HealthHook
from maou.logs.metrics_file import MetricsFile
from maou.logs.report import DryRun, Reporter, Summary
from maou.logs.tensorboard import Histograms, TensorBoard
from maou.model.freezing import freeze
from maou.model.network import build_network
from maou.optim.optimizer import build_optimizer
from maou.plan import make_plan
from maou.settings import as_plain
from maou.sources.local import AnyShards
from maou.train.device import resolve_compute
from maou.train.hooks import Hook
from maou.train.loop import Trainer
from maou.train.metrics import PolicyValueMetrics
from maou.train.state import TrainState
from maou.train.step import accumulate_gradients

VERIFIED_POSITIONS = 256
"""Validation positions on which the exported model is compared with the network."""


@dataclass(frozen=True)
class RunFolders:
    """Where a run writes: `<log-dir>/<name>` and `<model-dir>/<name>`."""

    logs: Path
    models: Path


def learn(
    config: RunConfig, reporter: Reporter, *, dry_run: bool = False
) -> Summary | None:
    """Train a network as configured; a dry run stops before anything is written.

    Raises:
        ConfigError: settings that cannot be meant, such as a device that is absent.
        CheckpointError: parameters to start from that cannot be read or do not fit.
        DataError: shards that cannot be read or split.
        TrainingError: training diverged.
    """
    compute = resolve_compute(config.train.gpu)
    shards = open_data(config.source)
    torch.manual_seed(config.data.seed)
    network = build_network(config.model)
    warm_start(network, config.warm_start)
    freeze(network, config.freeze)
    network.to(compute.device)
    data = prepare_data(shards, config.data, config.source.input_cache_mode)
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
    if dry_run:
        reporter.dry_run(_try_one_batch(trainer, state))
        return None
    folders = _make_folders(config)
    record = _record(config, shards)
    for folder in (folders.models, folders.logs):
        with atomic_write(folder / "run.toml") as stream:
            stream.write(write_config(config).encode())
    before = _Before(reporter)
    board = TensorBoard(folders.logs, json.dumps(record, indent=2))
    file = MetricsFile(folders.logs / "metrics.jsonl")
    listeners = (reporter.health, board.health, file.health)
    hooks: list[Hook] = [
        HealthHook(trainer.total_steps, config.logs.health_interval, listeners),
        CheckpointHook(
            folders.models, record, split=config.checkpoint.save_split_params
        ),
        Histograms(board, config.logs, trainer.steps_per_epoch),
        board,
        file,
        before,
    ]
    trainer.fit(state, hooks)
    summary = _finish(folders, data, state, before)
    reporter.finished(summary)
    return summary


def _try_one_batch(trainer: Trainer, state: TrainState) -> DryRun:
    begin = time.perf_counter()
    batch = next(trainer.training.batches(trainer.train.start_epoch))
    state.network.train()
    sums = accumulate_gradients(state.network, [batch], trainer.loss, trainer.compute)
    gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients))
    loss = float(sums.sums_4[0]) / sums.rows
    return DryRun(sums.rows, loss, norm, time.perf_counter() - begin)


@dataclass
class _Before(Hook):
    """Keeps the untrained network's metrics and passes epochs to the reporter."""

    reporter: Reporter
    metrics: list[PolicyValueMetrics] = field(default_factory=list)

    def on_start(self, state: TrainState, before: PolicyValueMetrics) -> None:
        self.metrics.append(before)
        self.reporter.epoch(0, before, frozenset())

    def on_epoch(
        self, state: TrainState, metrics: PolicyValueMetrics, best: frozenset[str]
    ) -> None:
        self.reporter.epoch(state.epoch, metrics, best)


def _finish(
    folders: RunFolders, data: TrainingData, state: TrainState, before: _Before
) -> Summary:
    """Export the best network, compare it with its checkpoint, and sum up."""
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
        best=state.best,
        epochs=state.epoch,
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


def _record(config: RunConfig, shards: AnyShards) -> dict[str, object]:
    return {
        "maou_version": __version__,
        "torch_version": torch.__version__,
        "data_fingerprint": shards.fingerprint(),
        **as_plain(config),
    }
