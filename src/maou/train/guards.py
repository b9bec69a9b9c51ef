"""Nothing that is not finite reaches the weights.

Each step is judged before its update, by its losses and the largest of its gradients:
one small tensor, and one wait for the device. A step that cannot be applied and is no
mere overflow of loss scaling ends the run, with everything it takes to make it again.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from maou.data.batch import PositionBatch
from maou.errors import TrainingError
from maou.train.events import LOSS_SPIKE, OVERFLOW, Event
from maou.train.numbers import REPORTED_FACTOR, WINDOW
from maou.train.state import TrainState
from maou.train.step import StepSums

LEAST_SCALE = 1.0
"""With the loss scaled by so little, an overflow is the gradient's own."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of a step.

    Attributes:
        finite: whether training can go on.
        update: whether to apply it.
        events: what is to be told about it.
    """

    finite: bool
    update: bool = False
    events: tuple[Event, ...] = ()


def judge(state: TrainState, sums: StepSums, skip_above: float | None) -> Verdict:
    """Judge a step whose gradients are complete; unscale them where they are scaled.

    Args:
        state: what the step would change; its numbers are brought up to date.
        sums: the step's losses, the total first.
        skip_above: multiple of the median loss above which a step is not applied.
    """
    scaler = state.scaler
    if scaler is not None:
        scaler.unscale_(state.optimizer)
    *losses, largest = _on_host(state, sums)
    if not all(math.isfinite(loss) for loss in losses):
        return Verdict(finite=False)  # the loss is computed before it is scaled
    overflow = not math.isfinite(largest)
    if overflow and (scaler is None or scaler.get_scale() <= LEAST_SCALE):
        return Verdict(finite=False)
    if scaler is not None:
        scaler.update()
    excess = state.numbers.add(losses[0] / sums.rows)
    if overflow:
        assert scaler is not None
        state.numbers.overflows += 1
        return Verdict(True, events=(_overflow(state, scaler.get_scale()),))
    limit = min(REPORTED_FACTOR, skip_above or REPORTED_FACTOR)
    if excess is None or excess <= limit:
        return Verdict(True, update=True)
    skipped = skip_above is not None and excess > skip_above
    state.numbers.spikes += 1
    state.numbers.skipped_spikes += skipped
    return Verdict(True, not skipped, (_spike(state, excess, skipped=skipped),))


def _on_host(state: TrainState, sums: StepSums) -> list[float]:
    """Bring the sums and the largest gradient over; wait for the device once."""
    gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
    largest = get_total_norm(gradients, norm_type=math.inf)
    values: list[float] = torch.cat([sums.sums, largest.double()[None]]).tolist()
    return values


def _overflow(state: TrainState, scale: float) -> Event:
    step = state.step + 1
    text = f"step {step:,}: fp16 overflow, not applied; the loss scale is now {scale:g}"
    return Event(OVERFLOW, step, text, {"loss_scale": scale})


def _spike(state: TrainState, excess: float, *, skipped: bool) -> Event:
    step, loss = state.step + 1, state.numbers.losses[-1]
    text = (
        f"step {step:,}: loss {loss:.4g} is {excess:.1f} times the median of the "
        f"{WINDOW} before"
    )
    text += "; its update was not applied" if skipped else ""
    values = {"loss": loss, "factor": excess, "skipped": float(skipped)}
    return Event(LOSS_SPIKE, step, text, values)


@dataclass(frozen=True)
class GradientFault:
    """How many values of a gradient are not numbers, and how many are infinite."""

    nan: int
    infinite: int
    values: int


@dataclass(frozen=True)
class Attempt:
    """What a step starts from, besides the state.

    Attributes:
        batches: its batches as they were loaded.
        generators: torch's random generators before it.
    """

    batches: tuple[PositionBatch, ...]
    generators: Mapping[str, Tensor]


@dataclass(frozen=True)
class BrokenStep:
    """What is not finite in a step.

    Attributes:
        losses: the task's columns, means over the rows; empty where the backward pass
            was cut off.
        gradients: the faults of those that are not finite, by parameter.
        digests: SHA-256 of every gradient, by parameter.
        parameters: names of parameters that were not finite before the step.
        operation: what `--detect-anomaly` found.
    """

    losses: dict[str, float]
    gradients: dict[str, GradientFault]
    digests: dict[str, str]
    parameters: tuple[str, ...]
    operation: str = ""

    def describe(self) -> str:
        """Say it in a line."""
        if self.operation:
            return f"--detect-anomaly: {self.operation}"
        said = []
        bad = [name for name, loss in self.losses.items() if not math.isfinite(loss)]
        if bad:
            shown = (f"{name} {loss:.4g}" for name, loss in self.losses.items())
            said.append(f"the loss is not finite ({', '.join(shown)})")
        if self.gradients:
            name, fault = next(iter(self.gradients.items()))
            said.append(
                f"the gradients of {len(self.gradients)} of {len(self.digests)} "
                f"parameters are not finite (first {name}: {fault.nan:,} NaN and "
                f"{fault.infinite:,} infinite of {fault.values:,} values)"
            )
        if self.parameters:
            said.append(f"parameter {self.parameters[0]} was not finite before")
        return "; ".join(said)


def require_finite_weights(state: TrainState) -> None:
    """Check the parameters before they are saved: an update can overflow by itself.

    Raises:
        TrainingError: one is not finite.
    """
    for name, parameter in state.network.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise TrainingError(
                f"step {state.step:,}: its update made parameter {name} infinite or "
                "NaN; this state is not saved, and checkpoints from before are whole. "
                "Start a new run with a lower --learning-ratio (or the stage's own)"
            )


class BrokenStepError(TrainingError):
    """A step that was not applied; the state is the one before it."""

    def __init__(self, step: int, attempt: Attempt, found: BrokenStep) -> None:
        """Take the step's number, from 1, what it started from, and what is wrong."""
        super().__init__(
            f"step {step:,}: {found.describe()}. Its update was not applied"
        )
        self.step, self.attempt, self.found = step, attempt, found


def examine(
    state: TrainState,
    columns: tuple[str, ...],
    sums: StepSums | None,
    operation: str = "",
) -> BrokenStep:
    """Find out what is not finite in a step whose gradients are at hand."""
    losses = [] if sums is None else (sums.sums / sums.rows).tolist()
    gradients, digests, parameters = {}, {}, []
    for name, parameter in state.network.named_parameters():
        if not bool(parameter.isfinite().all()):
            parameters.append(name)
        if parameter.grad is None:
            continue
        gradient = parameter.grad.detach().cpu().contiguous()
        digests[name] = hashlib.sha256(gradient.numpy().tobytes()).hexdigest()
        if not bool(gradient.isfinite().all()):
            gradients[name] = GradientFault(
                int(gradient.isnan().sum()),
                int(gradient.isinf().sum()),
                gradient.numel(),
            )
    return BrokenStep(
        dict(zip(columns, losses, strict=bool(losses))),
        gradients,
        digests,
        tuple(parameters),
        operation,
    )
