"""Policy and value metrics over any number of batches, weighted by rows.

Shapes: B batch, M the 1496 move labels, N bins of the win probability.

Sums stay on the device in float64; nothing waits for the device until `result`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from maou.losses.config import LossConfig
from maou.losses.policy import is_soft
from maou.losses.total import Losses, Targets, total_loss
from maou.model.network import Outputs

CALIBRATION_BINS = 15
"""Equal-width bins of the win probability (Guo et al. 2017 use 15)."""

_TOP = 5
_SUMS = (
    "rows",
    "total_loss",
    "policy_loss",
    "value_bce",
    "cross_entropy",
    "entropy",
    "top1",
    "top5",
    "brier",
    "decisive",
    "sign",
)


@dataclass(frozen=True)
class PolicyValueMetrics:
    """Means over rows; losses and entropies in nats, the others in [0, 1]."""

    rows: int
    """Positions seen."""

    total_loss: float
    """What training minimises: the weighted sum of the next two."""

    policy_loss: float
    """Generalised cross-entropy of the policy, with the training's q."""

    value_bce: float
    """Binary cross-entropy of the value: the value's training loss."""

    policy_cross_entropy: float
    """Cross-entropy of the policy."""

    policy_top1: float
    """Share of played moves that the policy put first."""

    policy_top5: float
    """Share of played moves among the policy's first five."""

    policy_entropy: float
    """Entropy of the policy's own distribution over all 1496 labels."""

    value_brier: float
    """Mean squared difference of win probability and result."""

    value_sign_accuracy: float | None
    """Share of decisive games whose winner the value favours; None without any."""

    value_calibration_error: float
    """Mean over rows of |mean probability - mean result| of the row's bin."""


class MetricSums:
    """Running sums from which `result` makes the means."""

    def __init__(self, config: LossConfig, device: torch.device | str = "cpu") -> None:
        """Start at zero, with the loss settings of the training to compare with."""
        self._config = config
        self._sums = torch.zeros(len(_SUMS), dtype=torch.float64, device=device)
        self._bins_N3 = torch.zeros(
            CALIBRATION_BINS, 3, dtype=torch.float64, device=device
        )

    @torch.no_grad()
    def update(
        self,
        outputs: Outputs,
        targets: Targets,
        losses: Losses | None = None,
    ) -> None:
        """Add a batch.

        Args:
            outputs: logits as the network gives them, of any float type.
            targets: labels or soft targets, and results.
            losses: what `total_loss` said of the same rows, where it is known
                already; computed when None.

        Soft policy targets count by their weight: top-1 is the share of the target
        that lies on the policy's first move, which for aggregated positions equals
        the top-1 over the single games.
        """
        if losses is None:
            losses = total_loss(outputs, targets, self._config)
        rows = torch.ones_like(losses.total_B, dtype=torch.float64)
        columns = (
            rows,
            *losses,
            *_policy_rows(outputs.policy_logits_BM.float(), targets.policy),
            *_value_rows(outputs.value_logit_B.float(), targets.value_B.float()),
        )
        # `columns` runs in the order of `_SUMS`.
        self._sums += torch.stack([column.double().sum() for column in columns])
        self._bins_N3 += _calibration(outputs.value_logit_B, targets.value_B)

    def result(self) -> PolicyValueMetrics:
        """Give the means of all rows so far; waits for the device.

        Raises:
            ValueError: no row has been added.
        """
        sums = dict(zip(_SUMS, self._sums.tolist(), strict=True))
        rows = sums["rows"]
        if not rows:
            raise ValueError("no metrics: not a single row was evaluated")
        _, probability, outcome = self._bins_N3.cpu().T
        decisive = sums["decisive"]
        return PolicyValueMetrics(
            rows=int(rows),
            total_loss=sums["total_loss"] / rows,
            policy_loss=sums["policy_loss"] / rows,
            value_bce=sums["value_bce"] / rows,
            policy_cross_entropy=sums["cross_entropy"] / rows,
            policy_top1=sums["top1"] / rows,
            policy_top5=sums["top5"] / rows,
            policy_entropy=sums["entropy"] / rows,
            value_brier=sums["brier"] / rows,
            value_sign_accuracy=sums["sign"] / decisive if decisive else None,
            # n_bin / rows * |p_sum / n_bin - r_sum / n_bin|, summed over bins.
            value_calibration_error=(probability - outcome).abs().sum().item() / rows,
        )


def first_move_hits(logits_BM: Tensor, target: Tensor) -> Tensor:
    """Give the target's weight on the policy's first move, [B]: 0 or 1 for labels."""
    first_B = logits_BM.argmax(dim=-1)
    if is_soft(logits_BM, target):
        return target.gather(1, first_B[:, None]).squeeze(1)
    return first_B == target


def _policy_rows(logits_BM: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    """Give each row's cross-entropy, entropy, top-1 and top-5 weight, [B] each."""
    log_p_BM = torch.log_softmax(logits_BM, dim=-1)
    entropy_B = -(log_p_BM.exp() * log_p_BM).sum(dim=-1)
    first = logits_BM.topk(_TOP, dim=-1).indices
    if is_soft(logits_BM, target):
        cross_entropy_B = -(target.float() * log_p_BM).sum(dim=-1)
        hits = target.double().gather(1, first)
    else:
        cross_entropy_B = -log_p_BM.gather(1, target[:, None]).squeeze(1)
        hits = first == target[:, None]
    return cross_entropy_B, entropy_B, hits[:, 0], hits.sum(dim=-1)


def _value_rows(logit_B: Tensor, result_B: Tensor) -> tuple[Tensor, ...]:
    """Give each row's squared error, whether it is decisive, and right, [B] each."""
    squared_B = (torch.sigmoid(logit_B) - result_B).square()
    right_B = torch.sign(logit_B) == torch.sign(result_B - 0.5)
    decisive_B = result_B != 0.5
    return squared_B, decisive_B, right_B & decisive_B


def _calibration(logit_B: Tensor, result_B: Tensor) -> Tensor:
    """Sum rows, probabilities and results by bin, [N, 3].

    Naeini et al. 2015, section 3, and Guo et al. 2017, eq. 3; here of the probability
    to win itself, in bins [0, 1/15), [1/15, 2/15), ..., [14/15, 1].
    """
    probability_B = torch.sigmoid(logit_B.double())
    bins_B = (probability_B * CALIBRATION_BINS).long().clamp(0, CALIBRATION_BINS - 1)
    member_BN = bins_B[:, None] == torch.arange(CALIBRATION_BINS, device=logit_B.device)
    columns_B3 = torch.stack(
        [torch.ones_like(probability_B), probability_B, result_B.double()], dim=1
    )
    # A product, not a scatter: the same sums in the same order on every device.
    return member_BN.double().T @ columns_B3
