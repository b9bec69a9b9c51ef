"""All losses of one batch, row by row, and their weighted sum.

Shapes: B batch, M the 1496 move labels.

Nothing is averaged here: whoever accumulates divides each micro-batch's sum by the
rows of the whole effective batch, which gives exactly the big batch's gradient.
"""

from typing import NamedTuple

from torch import Tensor

from maou.losses.config import LossConfig
from maou.losses.policy import policy_loss
from maou.losses.value import value_loss
from maou.model.network import Outputs


class Targets(NamedTuple):
    """What the network should have said.

    `policy` is int64 [B] (labels) or float [B, M] (shares of the moves); `value_B` is
    the result for the side to move in [0, 1].
    """

    policy: Tensor
    value_B: Tensor


class Losses(NamedTuple):
    """Losses of each row, float32 [B]; `total_B` is the weighted sum of the others."""

    total_B: Tensor
    policy_B: Tensor
    value_B: Tensor


def total_loss(outputs: Outputs, targets: Targets, config: LossConfig) -> Losses:
    """Give every row's losses; the policy's and the value's come unweighted."""
    policy_B = policy_loss(
        outputs.policy_logits_BM, targets.policy, q=config.gce_parameter
    )
    value_B = value_loss(outputs.value_logit_B, targets.value_B)
    total_B = config.policy_loss_ratio * policy_B + config.value_loss_ratio * value_B
    return Losses(total_B, policy_B, value_B)
