"""The composition root of `maou learn-model`: builds the journey, owns nothing else."""

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from maou import __version__
from maou.checkpoint.bundle import explain
from maou.checkpoint.folders import BEST
from maou.checkpoint.hook import CheckpointHook
from maou.checkpoint.load import load_checkpoint
from maou.checkpoint.resume import (
    ResumePoint,
    go_on_from,
    require_newest,
    resume_command,
)
from maou.checkpoint.warm_start import fill_part
from maou.checks import check_sources
from maou.config import (
    RunConfig,
    names_only,
    with_names_only,
)
from maou.config_file import write_config
from maou.data.pipeline import TrainingData
from maou.errors import (
    ConfigError,
    Interrupted,
    RemoteError,
    TrainingError,
    WrongBytesError,
)
from maou.export.interface import SETTINGS_KEY
from maou.export.onnx import export_onnx, verify_onnx
from maou.files import explained
from maou.logs.health import HealthHook
from maou.logs.metrics_file import METRICS_FILE, MetricsFile
from maou.logs.report import Exported, Reporter, Summary
from maou.logs.tensorboard import Histograms, TensorBoard
from maou.prepared import Prepared, fetch_as_needed, prepare_stages
from maou.publish.training import Uploads, publishing
from maou.run_folders import GO_ON_AGAIN, ONNX, RunFolders, make_folders
from maou.settings import as_plain
from maou.stages import Stage, stages_of
from maou.train.device import resolve_compute
from maou.train.events import Event
from maou.train.guards import BrokenStepError
from maou.train.hooks import Hook
from maou.train.interrupts import Interrupts
from maou.train.state import TrainState
from maou.train.task import Metrics
from maou.way_on import WayOn, way_on_of

VERIFIED_POSITIONS = 256
"""Validation positions on which the exported model is compared with the network."""


def learn(
    config: RunConfig,
    reporter: Reporter,
    *,
    dry_run: bool = False,
    resume: ResumePoint | None = None,
    allow_changed_data: bool = False,
) -> Summary | None:
    """Train a network as configured; a dry run stops before anything is written.

    All stages are prepared before the first begins, so that what is wrong with the last
    is said at once.

    Args:
        config: all settings.
        reporter: told what happens.
        dry_run: whether to stop after the plan and one batch.
        resume: the checkpoint to go on from, in the run that it belongs to.
        allow_changed_data: whether to go on with other data than the run began with.

    Raises:
        ConfigError: settings that cannot be meant, such as a device that is absent.
        CheckpointError: parameters to start from that cannot be read or do not fit.
        DataError: shards that cannot be read or split.
        RemoteError: shards that cannot be fetched; what was trained is saved.
        TrainingError: training diverged, a stage did not reach its threshold, another
            process trains in the run's folders, or they cannot be written to.
        Interrupted: a signal came; the message says how to go on.
    """
    compute = resolve_compute(config.train.gpu, config.train.precision)
    check_sources(config)
    stages = stages_of(config)
    if resume is not None:
        stages = [stage for stage in stages if stage.number >= resume.stage]
    interrupts, folders = Interrupts(), None
    with ExitStack() as held, interrupts.listening():
        if resume is not None:
            name = resume.run_folder.resolve().name
            folders = RunFolders(config.logs.log_dir / name, resume.run_folder)
            if resume.folder is not None and not folders.logs.is_dir():
                reporter.note(
                    f"no earlier logs of this run in {folders.logs.absolute()}: new "
                    "ones begin there; give --log-dir if they are elsewhere"
                )
            if not dry_run:
                held.enter_context(folders.locked(reporter))
                require_newest(resume)
                way_on = way_on_of(resume, config, allow_changed_data)
                held.enter_context(way_on.told())
        waiting = prepare_stages(
            stages,
            compute,
            begun=None if resume is None else resume.folder,
            tell=reporter.note,
            interrupts=interrupts,
            early=True,
        )
        fetch_as_needed(waiting, resume)
        if resume is not None and resume.folder is not None and not allow_changed_data:
            _require_same_data(resume, waiting[0])
        for prepared in waiting:
            reporter.plan(prepared.plan())
        if dry_run:
            for prepared in waiting:
                begun = resume if prepared is waiting[0] else None
                reporter.dry_run(prepared.try_one_batch(begun))
            return None
        if folders is None:
            folders = make_folders(config)
            held.enter_context(folders.locked(reporter))
        if resume is None or resume.folder is None:
            folders.write_settings(config)
        if resume is None:
            way_on = WayOn(folders.models)
            held.enter_context(way_on.told())
        uploads = held.enter_context(
            publishing(
                config.publish,
                (folders.models, folders.logs),
                write_config(with_names_only(config)),
                names_only,
                way_on.command_with,
                reporter,
            )
        )
        return _run_stages(waiting, folders, reporter, resume, uploads, way_on)


def _run_stages(
    waiting: list[Prepared],
    folders: RunFolders,
    reporter: Reporter,
    resume: ResumePoint | None,
    uploads: Uploads,
    way_on: WayOn,
) -> Summary | None:
    """Run the stages in order, the first from where it was left."""
    summary = None
    while waiting:
        prepared = waiting.pop(0)  # let go of it, with its rows, when it is done
        if summary is not None:
            fill_part(prepared.network, "backbone", summary.checkpoint)
        state = prepared.state(resume)
        if resume is not None and resume.folder is not None:
            kept = prepared.stage.config.checkpoint.kept
            needed = prepared.needed_best(state)
            with explained(resume.run_folder, GO_ON_AGAIN):
                notes = go_on_from(resume, state, kept, needed)
            for note in notes:
                reporter.note(note)
        resume = None
        places = folders.of_stage(prepared.stage)
        summary = _run(prepared, state, places, reporter, uploads, way_on)
        reporter.finished(summary)
        _require_goal(prepared.stage, summary)
    return summary


def _require_same_data(resume: ResumePoint, prepared: Prepared) -> None:
    """Refuse other data than a run began with.

    Raises:
        ConfigError: the fingerprints differ.
    """
    if not prepared.has_data_of(resume):
        found = prepared.data.shards.fingerprint()
        raise ConfigError(
            f"--resume-from {resume.folder}: the data has changed (fingerprint {found},"
            f" the run began with {resume.fingerprint}); restore it, or give "
            "--allow-changed-data to go on with what is there"
        )


def _run(
    prepared: Prepared,
    state: TrainState,
    folders: RunFolders,
    reporter: Reporter,
    uploads: Uploads,
    way_on: WayOn,
) -> Summary:
    """Train one stage to its end, from wherever its state is."""
    stage, trainer = prepared.stage, prepared.trainer
    config = stage.config
    record = _record(prepared)
    with explained(folders.logs, GO_ON_AGAIN):
        settings = json.dumps(names_only(record), indent=2)
        board = TensorBoard(folders.logs, settings, state, reporter.note)
        file = MetricsFile(folders.logs / METRICS_FILE, state, reporter.note)

    def saved(folder: Path) -> None:
        way_on.saved()
        uploads.checkpoint(folder)

    checkpoints = CheckpointHook(folders.models, record, config.checkpoint, saved)
    hooks: list[Hook] = [
        HealthHook(
            trainer.task.columns,
            trainer.total_steps,
            config.logs.health_interval,
            (reporter.health, board.health, file.health),
        ),
        Histograms(board, config.logs, trainer.steps_per_epoch),
        board,
        file,
        checkpoints,  # after the logs: what it holds has been logged
        _Epochs(reporter),
        uploads,
    ]
    try:
        with prepared.data.shards.naming():
            trainer.fit(state, hooks)
            if prepared.data.shards.arriving is not None:  # or some are not verified
                prepared.data.shards.arriving.finish(reporter.note)
    except Interrupted as signal:
        raise Interrupted(signal.number, _kept(state, checkpoints, way_on)) from signal
    except BrokenStepError as broken:
        with trainer.interrupts.deferred():
            message = explain(broken, folders.models, state, record, trainer.compute)
        raise TrainingError(message) from broken
    except WrongBytesError:
        raise
    except RemoteError as error:
        raise RemoteError(f"{error}. {_kept(state, checkpoints, way_on)}") from error
    assert state.before is not None
    exports = stage.number == 3 and config.export.export_onnx
    return Summary(
        title=stage.title,
        measured_on=_measured_on(prepared.data, stage),
        before=state.before,
        best={by: state.best[by] for by in trainer.task.best_by},
        epochs=state.epoch,
        checkpoint=folders.models / BEST,
        tensorboard=folders.logs,
        onnx=_export(folders.models, prepared.data) if exports else None,
        numbers=state.numbers,
    )


def _kept(state: TrainState, checkpoints: CheckpointHook, way_on: WayOn) -> str:
    """Save what was cut off; say how to go on."""
    if state.before is None:
        return ""  # as if the stage had not begun
    folder = checkpoints.save(state, frozenset())
    return (
        f"Interrupted after step {state.step:,}, saved as {folder}. Go on with\n"
        f"  {way_on.command}"
    )


def _measured_on(data: TrainingData, stage: Stage) -> str:
    if data.training is data.validation:
        return "all positions, none held out"
    return "held-out games" if stage.number == 3 else "held-out positions"


def _require_goal(stage: Stage, summary: Summary) -> None:
    """Stop a run whose stage has not learned enough for the next one.

    Raises:
        TrainingError: the best epoch is below the threshold.
    """
    best = next(iter(summary.best.values()))
    if stage.goal is None or stage.goal.is_reached(best.metrics):
        return
    number, name = stage.number, stage.goal.metric.replace("_", " ")
    raise TrainingError(
        f"stage {number} ({stage.name}): {name} {stage.goal.value(best.metrics):.4f} "
        f"after epoch {summary.epochs}, below --stage{number}-threshold "
        f"{stage.goal.threshold:g}. Its checkpoint is kept. Go on with a lower "
        "threshold, or with more epochs:\n"
        f"  {resume_command(summary.checkpoint.parent.parent)} "
        f"--stage{number}-max-epochs {2 * summary.epochs}"
    )


@dataclass(frozen=True)
class _Epochs(Hook):
    """Passes epochs and events to the reporter."""

    reporter: Reporter

    def on_start(self, state: TrainState, before: Metrics) -> None:
        self.reporter.epoch(0, before, frozenset())

    def on_event(self, state: TrainState, event: Event) -> None:
        self.reporter.event(event)

    def on_epoch(
        self, state: TrainState, metrics: Metrics, best: frozenset[str]
    ) -> None:
        self.reporter.epoch(state.epoch, metrics, best)


_EXPORT_AGAIN = (
    "training is complete and saved. Make room there, and have it exported with\n  {}"
)


def _export(models: Path, data: TrainingData) -> Exported:
    """Export the best network and compare it with its checkpoint."""
    best = load_checkpoint(models / BEST)
    path = models / ONNX
    metadata = {
        "training.step": str(best.state["step"]),
        "training.epoch": str(best.state["epoch"]),
        "training.rows": str(best.state["rows"]),
        SETTINGS_KEY: json.dumps(
            {name: best.state["settings"][name] for name in ("loss", "data")}
        ),
    }
    with explained(path, _EXPORT_AGAIN.format(resume_command(models))):
        export_onnx(best.network, path, metadata=metadata)
    batch = next(iter(data.validation_batches.batches(0)))
    board_BS = batch.board_BS[:VERIFIED_POSITIONS]
    hand_BH = batch.hand_BH[:VERIFIED_POSITIONS]
    return Exported(path, verify_onnx(path, best.network, board_BS, hand_BH))


def _record(prepared: Prepared) -> dict[str, object]:
    return {
        "maou_version": __version__,
        "torch_version": torch.__version__,
        "data_fingerprint": prepared.data.shards.fingerprint(),
        "stage": prepared.stage.number,
        **as_plain(prepared.stage.config),
    }
