"""What a stage trains for: its loss, its measurements, and what makes an epoch best.

Shapes: B batch. The loop knows nothing else of a stage.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from maou.data.batch import PlayedBatch, PositionBatch
from maou.losses.config import LossConfig
from maou.losses.total import Targets, total_loss
from maou.train.metrics import MetricSums, PolicyValueMetrics, first_move_hits
from maou.train.multi_label_metrics import MultiLabelMetrics

Metrics = PolicyValueMetrics | MultiLabelMetrics
"""What a validation finds: means over rows, among them `rows` and `total_loss`."""


class Criterion(NamedTuple):
    """A validation metric by which epochs are compared."""

    metric: str
    higher_is_better: bool = False

    def prefers(self, new: Metrics, old: Metrics) -> bool:
        """Tell whether `new` is strictly better."""
        ours, theirs = getattr(new, self.metric), getattr(old, self.metric)
        return bool(ours > theirs if self.higher_is_better else ours < theirs)


class Measurement(Protocol):
    """Collects a validation."""

    def add(self, outputs: Any, batch: PositionBatch) -> None:
        """Measure the network's answers to a batch; does not wait for the device."""

    def result(self) -> Metrics:
        """Give the means; waits for the device."""


class Task(ABC):
    """A stage's loss and measurements.

    Attributes:
        columns: names of what is summed in every step, `total_loss` first.
        metrics: the class of what is measured.
        best_by: what an epoch can be the best by, and the metric that decides.
    """

    columns: tuple[str, ...]
    metrics: type[Metrics]
    best_by: Mapping[str, Criterion]  # its first entry decides which one is kept

    @abstractmethod
    def rows(self, outputs: Any, batch: PositionBatch) -> tuple[Tensor, ...]:
        """Give a value of each column for each row, [B] each.

        Only the first, which is to be minimised, carries a gradient.
        """

    @abstractmethod
    def measurement(self, device: torch.device) -> Measurement:
        """Begin a validation."""


class PolicyValueTask(Task):
    """Stage 3: the moves and results of games."""

    columns = ("total_loss", "policy_loss", "value_loss", "policy_top1")
    metrics = PolicyValueMetrics
    # The heads have their own, since the value head overfits before the policy.
    best_by = MappingProxyType(
        {
            "total": Criterion("total_loss"),
            "policy": Criterion("policy_loss"),
            "value": Criterion("value_bce"),
        }
    )

    def __init__(self, loss: LossConfig) -> None:
        """Take the loss's settings."""
        self._loss = loss

    def rows(self, outputs: Any, batch: PositionBatch) -> tuple[Tensor, ...]:
        """Give losses, and whether the policy put the move played first."""
        targets = played_targets(batch)
        losses = total_loss(outputs, targets, self._loss)
        with torch.no_grad():
            hits_B = first_move_hits(outputs.policy_logits_BM, targets.policy)
        return (*losses, hits_B)

    def measurement(self, device: torch.device) -> Measurement:
        """Begin a validation of policy and value."""
        return _PolicyValueMeasurement(self._loss, device)


class _PolicyValueMeasurement:
    def __init__(self, loss: LossConfig, device: torch.device) -> None:
        self._sums = MetricSums(loss, device)

    def add(self, outputs: Any, batch: PositionBatch) -> None:
        self._sums.update(outputs, played_targets(batch))

    def result(self) -> PolicyValueMetrics:
        return self._sums.result()


def played_targets(batch: PositionBatch) -> Targets:
    """Give what the network should have said of positions of games."""
    assert isinstance(batch, PlayedBatch)
    return Targets(batch.policy_target(), batch.value_B)
