"""The composition root of `maou utility replay`: a broken step, once more."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from maou.checkpoint.bundle import Bundle, read_bundle
from maou.checkpoint.load import read_tensors, require_sizes
from maou.checkpoint.resume import restore
from maou.checkpoint.save import MODEL
from maou.config import RunConfig, run_config_from_record
from maou.data.batch import FlagBatch, PositionBatch
from maou.errors import CheckpointError, ConfigError
from maou.model.freezing import freeze
from maou.optim.optimizer import build_optimizer
from maou.records.stage_shards import STAGES as RECORDS
from maou.replay.config import ReplayConfig
from maou.replay.trace import Trace, traced
from maou.stages import Stage, stages_of
from maou.train.device import Compute, resolve_compute
from maou.train.guards import BrokenStep, examine
from maou.train.memory import in_parts
from maou.train.state import TrainState
from maou.train.step import accumulate_gradients
from maou.train.task import Task


@dataclass(frozen=True)
class Replay:
    """What came of a broken step the second time.

    Attributes:
        bundle: what was recorded.
        device: where it was made again.
        found: what is not finite now.
        trace: where it begins.
        rows: rows of the step, from 0, whose losses are not finite, by column.
        operation: what anomaly mode says; empty if nothing, or if it was off.
    """

    bundle: Bundle
    device: str
    found: BrokenStep
    trace: Trace
    rows: dict[str, list[int]]
    operation: str

    @property
    def reproduced(self) -> bool:
        """Whether the same numbers are not finite."""
        recorded = self.bundle.found
        if recorded.operation:
            return self.operation == recorded.operation
        return (
            _bad(recorded) == _bad(self.found)
            and recorded.gradients.keys() == self.found.gradients.keys()
        )

    @property
    def same_losses(self) -> bool:
        """Whether the losses have the same bits (one NaN is as good as another)."""
        ours, theirs = self.found.losses, self.bundle.found.losses
        return all(
            name in ours and (ours[name] == loss or ours[name] != ours[name] != loss)
            for name, loss in theirs.items()
        )

    @property
    def same_gradients(self) -> int:
        """How many parameters' gradients have the same bits."""
        ours = self.found.digests
        theirs = self.bundle.found.digests
        return sum(ours.get(name) == digest for name, digest in theirs.items())

    def to_json(self) -> dict[str, Any]:
        """Give the report as a JSON object."""
        recorded = self.bundle.found
        return {
            "bundle": str(self.bundle.folder),
            "step": self.bundle.step,
            "epoch": self.bundle.epoch,
            "recorded_on": self.bundle.device,
            "replayed_on": self.device,
            "reproduced": self.reproduced,
            "recorded": recorded.describe(),
            "replayed": self.found.describe(),
            "losses": {name: str(loss) for name, loss in self.found.losses.items()},
            "same_losses": self.same_losses,
            "gradients": {n: asdict(g) for n, g in self.found.gradients.items()},
            "same_gradients": self.same_gradients,
            "of_gradients": len(recorded.digests),
            "first_in_forward": self.trace.forward,
            "first_in_backward": self.trace.backward,
            "rows": self.rows,
            "operation": self.operation,
        }


def _bad(found: BrokenStep) -> set[str]:
    return {name for name, loss in found.losses.items() if not math.isfinite(loss)}


def replay(config: ReplayConfig) -> Replay:
    """Make a broken step again and find out where it breaks.

    Raises:
        CheckpointError: the bundle is damaged, or of a version that differs.
        ConfigError: the device is not available.
    """
    bundle = read_bundle(config.bundle)
    compute = _compute(bundle, config.gpu)
    if compute.device.type == "cpu":
        torch.set_num_threads(bundle.threads)  # sums depend on it
    stage = _stage(bundle)
    _require_batches(bundle, stage)
    state = _state(bundle, stage, compute)
    step = _Step(bundle, state, stage.task(), compute)
    with traced(state.network) as trace:
        found = step.make()
    return Replay(
        bundle=bundle,
        device=compute.describe(),
        found=found,
        trace=trace,
        rows=step.bad_rows(),
        operation=step.operation() if config.detect_anomaly else "",
    )


@dataclass(frozen=True)
class _Step:
    """The step, to be made as often as one likes."""

    bundle: Bundle
    state: TrainState
    task: Task
    compute: Compute

    def make(self) -> BrokenStep:
        """Make it as the run did, but for the update."""
        sums = accumulate_gradients(
            self.state.network,
            self._parts(),
            self.task,
            self.compute,
            scaler=self.state.scaler,
        )
        if self.state.scaler is not None:
            self.state.scaler.unscale_(self.state.optimizer)
        return examine(self.state, self.task.columns, sums)

    @torch.no_grad()
    def bad_rows(self) -> dict[str, list[int]]:
        """Find the rows whose losses are not finite."""
        rows: dict[str, list[int]] = {}
        first = 0
        for part in self._parts():
            batch = part.to(self.compute.device)
            with self.compute.forward_context():
                outputs = self.state.network(batch.board_BS, batch.hand_BH)
            columns = self.task.rows(outputs, batch)
            for name, values_B in zip(self.task.columns, columns, strict=True):
                bad = (~values_B.isfinite()).nonzero().flatten().tolist()
                if bad:
                    rows.setdefault(name, []).extend(first + row for row in bad)
            first += len(batch)
        return rows

    def operation(self) -> str:
        """Name the operation whose gradient is NaN; empty if none is."""
        try:
            with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True):
                warnings.simplefilter("ignore")  # torch shows Python's stack
                accumulate_gradients(
                    self.state.network,
                    self._parts(),
                    self.task,
                    self.compute,
                    scaler=self.state.scaler,
                )
        except RuntimeError as error:
            if "returned nan values" not in str(error):
                raise
            return str(error).splitlines()[0]
        return ""

    def _parts(self) -> Iterator[PositionBatch]:
        """Go back to before the step; give its batches as it took them."""
        state = self.state
        restore(state, self.bundle.folder, self.task.metrics)
        if self.compute.autocast is torch.float16:
            state.scaler = self.compute.scaler()  # one step a scaler
            restore(state, self.bundle.folder, self.task.metrics)
        state.optimizer.zero_grad(set_to_none=True)
        state.network.train()
        return in_parts(self.bundle.batches, state.micro_batch)


def _compute(bundle: Bundle, gpu: str | None) -> Compute:
    if gpu is not None:
        return resolve_compute(gpu, bundle.precision)
    try:
        return resolve_compute(bundle.device, bundle.precision)
    except ConfigError:
        return resolve_compute("cpu", bundle.precision)


def _stage(bundle: Bundle) -> Stage:
    number = bundle.settings.get("stage")
    try:
        config: RunConfig = run_config_from_record(bundle.settings)
        return next(stage for stage in stages_of(config) if stage.number == number)
    except (ConfigError, StopIteration) as error:
        raise CheckpointError(
            f"{bundle.folder}: settings that this version does not know ({error}); use "
            "the version that wrote it"
        ) from error


def _require_batches(bundle: Bundle, stage: Stage) -> None:
    """Refuse batches that the stage does not learn from.

    Raises:
        CheckpointError: one of them is such.
    """
    for batch in bundle.batches:
        if isinstance(batch, FlagBatch):
            fits = (
                stage.number in RECORDS and batch.flags == RECORDS[stage.number].flags
            )
        else:
            fits = stage.number == 3
        if not fits:
            raise CheckpointError(
                f"{bundle.folder}: holds batches of another stage than its settings, "
                f"which say stage {stage.number}; the bundle is damaged"
            )


def _state(bundle: Bundle, stage: Stage, compute: Compute) -> TrainState:
    tensors = read_tensors(bundle.folder / MODEL)
    require_sizes(bundle.folder, stage.config.model, stage.build, tensors)
    network = stage.build()
    if stage.number == 3:
        freeze(network, stage.config.freeze)
    network.to(compute.device)
    optimizer = build_optimizer(network.named_parameters(), stage.optim)
    return TrainState(network, optimizer, scaler=compute.scaler())
