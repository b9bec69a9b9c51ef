"""The loss of many flags at once: cross-entropy of each, or the asymmetric loss.

Shapes: B batch, K flags of a row (81 squares or 1496 moves).
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from maou.losses.config import MultiLabelShape


def multi_label_loss(
    logits_BK: Tensor, flags_BK: Tensor, shape: MultiLabelShape
) -> Tensor:
    """Give the mean loss of each row's flags.

    Ridnik et al. 2021, "Asymmetric Loss For Multi-Label Classification", eqs. 4 to 7.
    With p = sigmoid(logit) and p_m = max(p - clip, 0), a flag costs

        true:  -pos_weight (1 - p)^gamma_pos log p
        false: -p_m^gamma_neg log(1 - p_m)

    which with both gammas and the clip at 0 is binary cross-entropy.

    The gradient is that of this loss, focusing factors included, as the paper derives
    it (eq. 8). The authors' code can hold the factors constant instead, and does so by
    default: that follows the slope of no function, so a loss that rises would not say
    whether training diverges.

    Args:
        logits_BK: raw scores, any float type; the loss is computed in float32.
        flags_BK: 0 or 1, or booleans, of any type.
        shape: weight, focusing and clipping.

    Returns:
        float32 [B].

    Raises:
        ValueError: the flags' shape is not that of the logits.
    """
    if flags_BK.shape != logits_BK.shape:
        raise ValueError(
            f"flags {list(flags_BK.shape)} for logits {list(logits_BK.shape)}: they "
            "need one shape, [B, K]"
        )
    logits = logits_BK.float()
    log_p, log_not_p = logsigmoid(logits), logsigmoid(-logits)
    true = shape.pos_weight * _focus(log_p, log_not_p, shape.gamma_pos)
    if shape.clip:
        log_p, log_not_p = _shifted(logits, shape.clip)
    false = _focus(log_not_p, log_p, shape.gamma_neg)
    return -torch.where(flags_BK.bool(), true, false).mean(dim=1)


def _focus(log_right: Tensor, log_wrong: Tensor, gamma: float) -> Tensor:
    """Scale log-likelihoods by the gamma-th power of the probability of an error."""
    return torch.exp(gamma * log_wrong) * log_right if gamma else log_right


def _shifted(logits: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Give log p_m and log(1 - p_m) of p_m = max(p - clip, 0).

    Where p_m is 0, the second is 0 without a gradient, so the first, minus infinity,
    may be any number: it is 0, as the gradient of a fractional power at 0 is infinite.
    """
    p_m = torch.sigmoid(logits) - clip
    log_p_m = torch.where(p_m > 0.0, p_m, 1.0).log()
    # 1 - p_m, summed so that it keeps its digits where p is near 1.
    not_p_m = torch.sigmoid(-logits) + clip
    return log_p_m, torch.where(p_m > 0.0, not_p_m, 1.0).clamp(max=1.0).log()
