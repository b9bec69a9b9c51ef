"""Going on from a checkpoint as if the run had never stopped."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.optim import Optimizer

from maou.checkpoint.fit import fill
from maou.checkpoint.load import read_checkpoint
from maou.checkpoint.manifest import verify_manifest
from maou.checkpoint.save import MODEL, OPTIMIZER, RANDOM, STATE
from maou.errors import CheckpointError
from maou.train.state import Best, TrainState
from maou.train.task import Metrics

LATEST = "latest"


@dataclass(frozen=True)
class ResumePoint:
    """A verified checkpoint that a run goes on from.

    Attributes:
        folder: the checkpoint.
        run_folder: the folder of the whole run, above the stage's.
        stage: the stage that was in progress.
        fingerprint: the stage's data.
        settings: the run's settings, nested by package as `as_plain` makes them.
        skipped: newer folders that are no sound checkpoints, each with its reason.
    """

    folder: Path
    run_folder: Path
    stage: int
    fingerprint: str
    settings: Mapping[str, Any]
    skipped: tuple[str, ...] = ()


def find_resume_point(path: str, model_dir: Path) -> ResumePoint:
    """Find the newest sound checkpoint that `--resume-from` means.

    Args:
        path: a checkpoint's folder, a run's folder, or `latest`: the run in `model_dir`
            that saved last.
        model_dir: where `latest` looks.

    Raises:
        CheckpointError: there is no sound checkpoint.
    """
    if path == LATEST:
        folders = _checkpoints(model_dir, "*/")
        where = f"{model_dir} (--model-dir)"
    elif _is_checkpoint_name(Path(path).resolve()):
        folders, where = [Path(path).resolve()], path
    else:
        folders, where = _checkpoints(Path(path), ""), path
    skipped: list[str] = []
    for folder in folders:
        try:
            verify_manifest(folder)
            return _read_point(folder, tuple(skipped))
        except CheckpointError as error:
            skipped.append(str(error))
    reasons = f" ({'; '.join(skipped)})" if skipped else ""
    raise CheckpointError(
        f"--resume-from {where}: no sound checkpoint there{reasons}; name a run's "
        "folder or a checkpoint's, or start a new run"
    )


def restore(state: TrainState, folder: Path, metrics: type[Metrics]) -> None:
    """Put a checkpoint into a fresh state of the same network and optimiser.

    The states of torch's generators are restored too.

    Args:
        state: what to fill.
        folder: a verified checkpoint.
        metrics: the class of the task's metrics.

    Raises:
        CheckpointError: it does not fit.
    """
    saved, tensors = read_checkpoint(folder)
    fill(state.network, tensors, f"{folder / MODEL}: does not fit this run's network")
    _fill_optimizer(state.optimizer, _load(folder / OPTIMIZER), folder)
    try:
        state.epoch, state.step = int(saved["epoch"]), int(saved["step"])
        state.batches, state.rows = int(saved["batches"]), int(saved["rows"])
        rates = [float(group["lr"]) for group in saved["optimizer_groups"]]
        state.before = metrics(**saved["before"])
        state.last = None if saved["last"] is None else metrics(**saved["last"])
        state.best = {
            by: Best(best["epoch"], metrics(**best["metrics"]))
            for by, best in saved["best"].items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder / STATE}: not a state that training can go on from: {error!r}"
        ) from error
    for group, rate in zip(state.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    for device, generator in _load(folder / RANDOM).items():
        if device == "cpu":
            torch.set_rng_state(generator)
        elif torch.cuda.is_available():
            torch.cuda.set_rng_state(generator, device)


def _checkpoints(run: Path, prefix: str) -> list[Path]:
    """List a run's checkpoints of all stages, the newest first.

    A later stage is newer; within a stage, more steps are.
    """
    found = [
        folder
        for stage in ("", "stage2/", "stage1/")
        for folder in sorted(
            run.glob(f"{prefix}{stage}epoch-*-step-*"),
            key=lambda folder: (folder.name.rsplit("-", 1)[1], folder.name),
            reverse=True,
        )
        if folder.is_dir()
    ]
    if not prefix:
        return found
    latest = max(found, key=lambda folder: folder.stat().st_mtime_ns, default=None)
    return [] if latest is None else _checkpoints(run_folder_of(latest), "")


def _is_checkpoint_name(folder: Path) -> bool:
    return folder.name.startswith("epoch-") and "-step-" in folder.name


def run_folder_of(folder: Path) -> Path:
    """Return the run's folder of a checkpoint of any stage."""
    above = folder.parent
    return above.parent if above.name in ("stage1", "stage2") else above


def _read_point(folder: Path, skipped: tuple[str, ...]) -> ResumePoint:
    try:
        settings = json.loads((folder / STATE).read_bytes())["settings"]
        return ResumePoint(
            folder=folder,
            run_folder=run_folder_of(folder),
            stage=int(settings["stage"]),
            fingerprint=str(settings["data_fingerprint"]),
            settings=settings,
            skipped=skipped,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / STATE}: holds no settings: {error!r}"
        ) from error


def _load(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error


def _fill_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, torch.Tensor], folder: Path
) -> None:
    """Load an optimiser's state by the names of its parameters."""
    state = optimizer.state_dict()
    numbers = {
        name: number
        for group in state["param_groups"]
        for name, number in zip(group["param_names"], group["params"], strict=True)
    }
    values: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        if name not in numbers:
            raise CheckpointError(
                f"{folder / OPTIMIZER}: has {kind} of {name}, which this run does not "
                "train"
            )
        values.setdefault(numbers[name], {})[kind] = tensor
    optimizer.load_state_dict({**state, "state": values})
