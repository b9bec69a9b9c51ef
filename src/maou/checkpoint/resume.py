"""Going on from a checkpoint as if the run had never stopped."""

import contextlib
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from maou.checkpoint.config import Keep
from maou.checkpoint.fit import fill
from maou.checkpoint.folders import (
    BEST,
    BEST_LINKS,
    LAST,
    STATE,
    age,
    checkpoint_name,
    checkpoints_in,
    clear_leftovers,
    contains_checkpoint_name,
    make_copies_links,
    mend_links,
    retain,
    set_aside,
)
from maou.checkpoint.load import read_checkpoint, read_tensors
from maou.checkpoint.manifest import verify_manifest
from maou.checkpoint.save import MODEL, OPTIMIZER, RANDOM
from maou.checkpoint.saved import (
    count,
    metrics_of,
    numbers_of,
    require_state,
    set_generators,
)
from maou.errors import CheckpointError, TrainingError
from maou.reading import read_json
from maou.text import shortened
from maou.train.state import Best, TrainState
from maou.train.task import Metrics

LATEST = "latest"
RUN_SETTINGS_FILE = "run.toml"
"""In a run's folder from its beginning: every setting."""

_STAGE_FOLDERS = ("", "stage2", "stage1")
"""Where the checkpoints of a run are, of the later stage first."""


@dataclass(frozen=True)
class ResumePoint:
    """Where a run goes on: at a verified checkpoint, or at its very beginning.

    Attributes:
        folder: the checkpoint; None if the run ended before it saved one.
        run_folder: the folder of the whole run, above the stage's.
        stage: the stage that was in progress.
        epoch, batches: the epoch in progress, and how many of its batches were made.
        fingerprint: the stage's data; empty without a checkpoint.
        settings: the run's settings, nested by package as `as_plain` makes them;
            empty without a checkpoint: then they are in `RUN_SETTINGS_FILE`.
        skipped: newer folders that are no sound checkpoints, each with its reason.
        newest: the run's newest checkpoint, sound or not, before one was looked for.
    """

    folder: Path | None
    run_folder: Path
    stage: int = 1
    epoch: int = 0
    batches: int = 0
    fingerprint: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    newest: Path | None = None


def find_resume_point(path: str, model_dir: Path) -> ResumePoint:
    """Find the newest sound checkpoint that `--resume-from` means.

    A run that has saved none begins again.

    Args:
        path: a checkpoint's folder, a run's folder, or `latest`: the run in `model_dir`
            that saved last.
        model_dir: where `latest` looks.

    Raises:
        CheckpointError: there is no sound checkpoint.
    """
    run, where = Path(path), path
    if path == LATEST:
        run, where = _latest_run(model_dir), f"{model_dir} (--model-dir)"
    resolved = run.resolve()
    if contains_checkpoint_name(resolved.name):
        newest = _newest(run_folder_of(resolved))
        folders = [resolved]
    else:
        if run.name != resolved.name or resolved.name in _STAGE_FOLDERS:
            run = resolved  # its own name is needed, and what is above a stage's
        newest = _newest(run_folder_of(run / LAST))
        folders = checkpoints_of(run)
        if not folders and (run / RUN_SETTINGS_FILE).is_file():
            return ResumePoint(None, run)
    skipped: list[str] = []
    for folder in folders:
        try:
            verify_manifest(folder, (MODEL, OPTIMIZER, RANDOM, STATE))
            return _read_point(folder, tuple(skipped), newest)
        except CheckpointError as error:
            skipped.append(str(error))
    reasons = f" ({'; '.join(skipped)})" if skipped else ""
    raise CheckpointError(
        f"--resume-from {where}: no sound checkpoint there{reasons}; name a run's "
        "folder or a checkpoint's, or start a new run"
    )


def require_newest(point: ResumePoint) -> None:
    """Refuse to go on where another process has saved since the point was found.

    What it saved would be set aside. Only under the run's lock is the answer lasting.

    Raises:
        TrainingError: there is another newest checkpoint now.
    """
    newest = _newest(point.run_folder)
    if newest != point.newest:
        raise TrainingError(
            f"{point.run_folder}: another process trained here in the meantime; the "
            f"newest checkpoint is now {newest or 'gone'}. Give the same command again "
            "to go on from what is there"
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
    _fill_optimizer(state.optimizer, read_tensors(folder / OPTIMIZER), folder)
    try:
        state.epoch, state.step = count(saved["epoch"]), count(saved["step"])
        state.batches, state.rows = count(saved["batches"]), count(saved["rows"])
        rates = [float(group["lr"]) for group in saved["optimizer_groups"]]
        state.before = metrics_of(metrics, saved["before"])
        state.last = (
            None if saved["last"] is None else metrics_of(metrics, saved["last"])
        )
        state.best = {
            by: Best(
                count(best["epoch"]),
                metrics_of(metrics, best["metrics"]),
                count(best["step"]),
            )
            for by, best in saved["best"].items()
            if BEST_LINKS[by]  # a KeyError where it is unknown
        }
        # Checkpoints of earlier versions have none of these.
        state.ahead = count(saved.get("ahead", 0))
        micro_batch = saved.get("micro_batch")
        state.micro_batch = None if micro_batch is None else count(micro_batch, 1)
        state.numbers = numbers_of(saved.get("numbers", {}))
        scaling = saved.get("loss_scaler")
        if state.scaler is not None and scaling is not None:
            state.scaler.load_state_dict(scaling)
        for group, rate in zip(state.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RuntimeError,
    ) as error:
        raise CheckpointError(
            f"{folder / STATE}: not a state that training can go on from: "
            f"{shortened(repr(error))}"
        ) from error
    set_generators(folder / RANDOM)


def go_on_from(
    point: ResumePoint, state: TrainState, keep: Keep, needed: Collection[str] = ()
) -> list[str]:
    """Make a run's folder say that the checkpoint gone on from is its newest.

    Newer checkpoints, of later stages too, are set aside: the run takes another way.
    Links and retention are brought up to where a crash may have left them.

    Args:
        point: has a checkpoint.
        state: what was restored from it; its best epochs are brought up to date.
        keep: which checkpoints are kept.
        needed: the criteria by which there has to be a best one, as no epoch follows.

    Returns:
        What there is to tell the user.

    Raises:
        CheckpointError: there is none, and nothing was changed; or there are folders
            where links belong.
    """
    assert point.folder is not None
    folder = point.folder.parent
    best = {by: checkpoint_name(b.epoch, b.step) for by, b in state.best.items()}
    gone = [
        name
        for by, name in best.items()
        if BEST_LINKS[by] == BEST and not (folder / name).is_dir()
    ]
    if gone:
        best = _begin_best_anew(state)
    if not set(needed) <= best.keys():
        raise CheckpointError(
            f"--resume-from {point.folder}: no epoch is left to train, and the best "
            "checkpoint so far is no longer there. Give more epochs, so that the best "
            "is chosen anew, or name a checkpoint of an epoch's end"
        )
    for name in _STAGE_FOLDERS:
        clear_leftovers(point.run_folder / name)
        make_copies_links(point.run_folder / name)
    notes = [
        f"newer than where this goes on: {newer}, now {set_aside(newer)}"
        for newer in _newer(point, state)
    ]
    notes += [
        f"the best checkpoint so far, {folder / name}, is no longer there; the best is "
        "chosen anew"
        for name in gone
    ]
    mend_links(folder, point.folder, best, keep)
    retain(folder, keep)
    return notes


def _newer(point: ResumePoint, state: TrainState) -> list[Path]:
    """List the checkpoints of later stages, and of this one those of more steps."""
    assert point.folder is not None
    stage = point.folder.parent
    newer: list[Path] = []
    for name in _STAGE_FOLDERS:
        folder = point.run_folder / name
        found = checkpoints_in(folder)
        if folder == stage:
            return newer + [p for p in found if age(p) > (state.step, state.epoch)]
        newer += found
    return newer


def _begin_best_anew(state: TrainState) -> dict[str, str]:
    """Forget the best epochs but the one that was just completed, if one was."""
    name = checkpoint_name(state.epoch, state.step)
    criteria = list(state.best) if state.last is not None and not state.batches else []
    state.best.clear()
    if state.last is not None:
        anew = Best(state.epoch, state.last, state.step)
        state.best.update(dict.fromkeys(criteria, anew))
    return dict.fromkeys(criteria, name)


def checkpoints_of(run: Path) -> list[Path]:
    """List a run's checkpoints of all stages, the newest first.

    A later stage is newer; within a stage, more steps are.
    """
    return [path for name in _STAGE_FOLDERS for path in checkpoints_in(run / name)]


def _newest(run: Path) -> Path | None:
    return next(iter(checkpoints_of(run)), None)


def _latest_run(model_dir: Path) -> Path:
    """Find the run that began or saved last; where there is none, the folder itself."""
    begun: dict[Path, int] = {}
    for run in model_dir.glob("*/"):
        for path in (run / RUN_SETTINGS_FILE, *checkpoints_of(run)):
            with contextlib.suppress(FileNotFoundError):
                begun[run] = max(begun.get(run, 0), path.stat().st_mtime_ns)
    # Of two within one tick of the file system's clock, the one of the later name.
    return max(begun, key=lambda run: (begun[run], run.name), default=model_dir)


def run_folder_of(folder: Path) -> Path:
    """Return the run's folder of a checkpoint of any stage."""
    above = folder.parent
    return above.parent if above.name in _STAGE_FOLDERS[1:] else above


def resume_command(folder: Path, flags: str = "") -> str:
    """Give the command that goes on with a run, or from a checkpoint.

    Args:
        folder: of the run or the checkpoint.
        flags: what has changed since its settings were saved, for a command line.
    """
    command = f"maou learn-model --resume-from {shlex.quote(str(folder))}"
    return f"{command} {flags}" if flags else command


def _read_point(
    folder: Path, skipped: tuple[str, ...], newest: Path | None
) -> ResumePoint:
    try:
        state = read_json(folder / STATE)
        settings = state["settings"]
        return ResumePoint(
            folder=folder,
            run_folder=run_folder_of(folder),
            stage=_stage(settings["stage"]),
            epoch=count(state["epoch"]),
            batches=count(state["batches"]),
            fingerprint=str(settings["data_fingerprint"]),
            settings=settings,
            skipped=skipped,
            newest=newest,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / STATE}: holds no settings: {shortened(repr(error))}"
        ) from error


def _stage(value: Any) -> int:
    if value not in (1, 2, 3):
        raise ValueError(f"stage {value!r}")
    return int(value)


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
                f"{folder / OPTIMIZER}: has {shortened(kind, 100)} of "
                f"{shortened(name, 100)}, which this run does not train"
            )
        values.setdefault(numbers[name], {})[kind] = tensor
    require_state(optimizer, values, folder / OPTIMIZER)
    optimizer.load_state_dict({**state, "state": values})
