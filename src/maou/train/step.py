"""One optimiser step.

The loss of a step is the mean over all rows of its effective batch: each micro-batch
adds its sum divided by the rows of them all, so accumulating gives the gradient of the
one big batch, whatever the sizes of its parts.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from maou.data.batch import PositionBatch
from maou.train.device import Compute
from maou.train.laps import NO_LAPS, Laps
from maou.train.task import Task


class StepSums(NamedTuple):
    """Sums over a step's rows of the task's columns, on the device: float64."""

    sums: Tensor
    rows: int


def accumulate_gradients(
    forward: nn.Module,
    batches: Iterable[PositionBatch],
    task: Task,
    compute: Compute,
    laps: Laps = NO_LAPS,
    scaler: GradScaler | None = None,
) -> StepSums:
    """Add the gradient of the mean loss over all rows of some batches.

    Args:
        forward: the network, compiled or not, in training mode.
        batches: the micro-batches of one step.
        task: the loss.
        compute: where to compute.
        laps: told when a phase of the step has been issued.
        scaler: multiplies the loss, and with it the gradients.

    Returns:
        The sums of the step; nothing waits for the device.
    """
    batches = tuple(batches)
    rows = sum(len(batch) for batch in batches)
    sums = torch.zeros(len(task.columns), dtype=torch.float64, device=compute.device)
    for micro in batches:
        batch = micro.to(compute.device)
        laps.lap("transfer")
        with compute.forward_context():
            outputs = forward(batch.board_BS, batch.hand_BH)
        laps.lap("forward")
        columns = task.rows(outputs, batch)
        laps.lap("loss")
        loss = columns[0].sum() / rows
        loss = loss if scaler is None else scaler.scale(loss)
        loss.backward()  # type: ignore[no-untyped-call]
        laps.lap("backward")
        with torch.no_grad():
            sums += torch.stack([column.double().sum() for column in columns])
    return StepSums(sums, rows)
