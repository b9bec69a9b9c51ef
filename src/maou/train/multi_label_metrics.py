"""Metrics of many flags at once, over any number of batches, weighted by rows.

Shapes: B batch, K flags of a row (81 squares or 1496 moves).

Sums stay on the device in float64; nothing waits for the device until `result`.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from maou.losses.config import MultiLabelShape
from maou.losses.multi_label import multi_label_loss


@dataclass(frozen=True)
class MultiLabelMetrics:
    """Means over rows; the loss in nats, the others in [0, 1].

    A flag is predicted where its logit is above 0. F1, precision and recall are
    sample means: of each row, then over the rows.
    """

    rows: int
    """Positions seen."""

    total_loss: float
    """What training minimises: mean loss of a flag."""

    element_accuracy: float
    """Share of single flags that are right."""

    exact_match: float
    """Share of rows with every flag right."""

    f1: float
    """Harmonic mean of a row's precision and recall."""

    precision: float
    """Share of a row's predicted flags that are true."""

    recall: float
    """Share of a row's true flags that are predicted."""


class RowScores(NamedTuple):
    """The metrics of each row, float64 [B]."""

    element_accuracy_B: Tensor
    exact_match_B: Tensor
    f1_B: Tensor
    precision_B: Tensor
    recall_B: Tensor


_SUMS = ("rows", "total_loss", *(name.removesuffix("_B") for name in RowScores._fields))


@torch.no_grad()
def row_scores(logits_BK: Tensor, flags_BK: Tensor) -> RowScores:
    """Score each row; nothing waits for the device.

    A row without a true flag of which none is predicted has F1, precision and recall
    1. Where only one of the two sets is empty, all three are 0.

    Args:
        logits_BK: raw scores, any float type.
        flags_BK: 0 or 1, or booleans, of any type.
    """
    predicted_BK, true_BK = logits_BK > 0.0, flags_BK.bool()
    hits_B = (predicted_BK & true_BK).sum(dim=1).double()
    predicted_B = predicted_BK.sum(dim=1).double()
    true_B = true_BK.sum(dim=1).double()
    right_BK = predicted_BK == true_BK
    agree_B = predicted_B + true_B == 0.0  # as empty sets do, where a share is 0 / 0

    def share(part_B: Tensor, whole_B: Tensor) -> Tensor:
        return torch.where(agree_B, 1.0, part_B / whole_B.clamp(min=1.0))

    return RowScores(
        element_accuracy_B=right_BK.double().mean(dim=1),
        exact_match_B=right_BK.all(dim=1).double(),
        f1_B=share(2.0 * hits_B, predicted_B + true_B),
        precision_B=share(hits_B, predicted_B),
        recall_B=share(hits_B, true_B),
    )


class MultiLabelSums:
    """Running sums from which `result` makes the means."""

    def __init__(
        self, shape: MultiLabelShape, device: torch.device | str = "cpu"
    ) -> None:
        """Start at zero, with the loss of the training to compare with."""
        self._shape = shape
        self._sums = torch.zeros(len(_SUMS), dtype=torch.float64, device=device)

    @torch.no_grad()
    def update(
        self, logits_BK: Tensor, flags_BK: Tensor, losses_B: Tensor | None = None
    ) -> None:
        """Add a batch.

        Args:
            logits_BK: logits as the network gives them, of any float type.
            flags_BK: 0 or 1, or booleans, of any type.
            losses_B: what `multi_label_loss` said of the same rows, where it is known
                already; computed when None.
        """
        if losses_B is None:
            losses_B = multi_label_loss(logits_BK, flags_BK, self._shape)
        rows_B = torch.ones_like(losses_B)
        columns = (rows_B, losses_B, *row_scores(logits_BK, flags_BK))
        # `columns` runs in the order of `_SUMS`.
        self._sums += torch.stack([column.double().sum() for column in columns])

    def result(self) -> MultiLabelMetrics:
        """Give the means of all rows so far; waits for the device.

        Raises:
            ValueError: no row has been added.
        """
        sums = dict(zip(_SUMS, self._sums.tolist(), strict=True))
        rows = sums.pop("rows")
        if not rows:
            raise ValueError("no metrics: not a single row was evaluated")
        means = {name: total / rows for name, total in sums.items()}
        return MultiLabelMetrics(rows=int(rows), **means)
