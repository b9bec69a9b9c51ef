"""Stages 1 and 2: which squares a piece reaches, which moves are legal.

Shapes: B batch, K flags (81 squares or 1496 move labels).
"""

from typing import Any

import torch
from torch import Tensor

from maou.data.batch import FlagBatch, PositionBatch
from maou.losses.config import MultiLabelShape
from maou.losses.multi_label import multi_label_loss
from maou.train.multi_label_metrics import (
    MultiLabelMetrics,
    MultiLabelSums,
    row_scores,
)
from maou.train.task import Criterion, Measurement, Task


class MultiLabelTask(Task):
    """Many yes-or-no answers to one position.

    Attributes:
        columns: the loss and the score of each row.
        best_by: the score alone, under its own name.
    """

    metrics = MultiLabelMetrics

    def __init__(self, shape: MultiLabelShape, score: str) -> None:
        """Take the loss's shape and the metric that the stage is judged by."""
        self._shape = shape
        self._score = score
        self.columns = ("total_loss", score)
        self.best_by = {score: Criterion(score, higher_is_better=True)}

    def rows(self, outputs: Any, batch: PositionBatch) -> tuple[Tensor, ...]:
        """Give the loss and the score."""
        flags_BK = _flags(batch)
        loss_B = multi_label_loss(outputs, flags_BK, self._shape)
        with torch.no_grad():
            score_B = getattr(row_scores(outputs, flags_BK), f"{self._score}_B")
        return loss_B, score_B

    def measurement(self, device: torch.device) -> Measurement:
        """Begin a validation."""
        return _MultiLabelMeasurement(self._shape, device)


class _MultiLabelMeasurement:
    def __init__(self, shape: MultiLabelShape, device: torch.device) -> None:
        self._sums = MultiLabelSums(shape, device)

    def add(self, outputs: Any, batch: PositionBatch) -> None:
        self._sums.update(outputs, _flags(batch))

    def result(self) -> MultiLabelMetrics:
        return self._sums.result()


def _flags(batch: PositionBatch) -> Tensor:
    assert isinstance(batch, FlagBatch)
    return batch.flags_BK()
