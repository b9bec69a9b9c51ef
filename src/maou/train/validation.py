"""Measuring a network on the held-out rows."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from maou.data.batch import PositionBatch
from maou.errors import TrainingError
from maou.train.device import Compute
from maou.train.task import Metrics, Task


@torch.no_grad()
def measure(
    forward: nn.Module,
    batches: Iterable[PositionBatch],
    task: Task,
    compute: Compute,
    at_most: int | None = None,
) -> Metrics:
    """Measure on some batches.

    Args:
        forward: the network, compiled or not, in evaluation mode.
        batches: the rows.
        task: what is measured.
        compute: where to compute.
        at_most: stop at so many rows.
    """
    measurement = task.measurement(compute.device)
    rows = 0
    for batch_on_cpu in batches:
        batch = batch_on_cpu.to(compute.device)
        with compute.forward_context():
            outputs = forward(batch.board_BS, batch.hand_BH)
        measurement.add(outputs, batch)
        rows += len(batch)
        if at_most is not None and rows >= at_most:
            break
    return measurement.result()


def require_finite(metrics: Metrics, step: int) -> None:
    """Check what a validation found before it is compared or saved.

    Raises:
        TrainingError: the loss is not finite.
    """
    if not math.isfinite(metrics.total_loss):
        raise TrainingError(
            f"the validation loss after step {step:,} is {metrics.total_loss}, though "
            "the training losses were finite: training has diverged. The last "
            "checkpoint is from before; try a lower --learning-ratio (or the stage's "
            "own)"
        )
