"""The policy loss: generalised cross-entropy.

Shapes: B batch, M the 1496 move labels.
"""

import torch
from torch import Tensor


def policy_loss(logits_BM: Tensor, target: Tensor, *, q: float = 0.7) -> Tensor:
    """Give the generalised cross-entropy (1 - p^q)/q of each row.

    Zhang & Sabuncu 2018, "Generalized Cross Entropy Loss for Training Deep Neural
    Networks with Noisy Labels", eq. 6; 0.7 is the value of its experiments (section
    4). Soft targets take the target-weighted sum over the moves. With q -> 0 it tends
    to cross-entropy; q = 1 is 1 - p.

    Args:
        logits_BM: raw scores, any float type; the loss is computed in float32.
        target: labels, int64 [B], or the share of each move, float [B, M].
        q: in (0, 1].

    Returns:
        float32 [B].

    Raises:
        ValueError: q is outside (0, 1], or the target's shape fits neither form.
    """
    if not 0.0 < q <= 1.0:
        raise ValueError(f"q of the generalised cross-entropy is {q}, not in (0, 1]")
    log_p_BM = torch.log_softmax(logits_BM.float(), dim=-1)
    if not is_soft(log_p_BM, target):
        log_p_B = log_p_BM.gather(1, target[:, None]).squeeze(1)
        return _box_cox(log_p_B, q)
    return (target.float() * _box_cox(log_p_BM, q)).sum(dim=-1)


def is_soft(logits_BM: Tensor, target: Tensor) -> bool:
    """Tell soft targets [B, M] from hard labels [B].

    Raises:
        ValueError: the target is neither.
    """
    if target.shape == logits_BM.shape and target.is_floating_point():
        return True
    if target.shape == logits_BM.shape[:1] and target.dtype == torch.int64:
        return False
    raise ValueError(
        f"policy target of {target.dtype} {list(target.shape)} for logits "
        f"{list(logits_BM.shape)}: needs int64 labels [B] or float shares [B, M]"
    )


def _box_cox(log_p: Tensor, q: float) -> Tensor:
    """(1 - p^q)/q; `expm1` keeps its digits where p^q is near 1 (small q)."""
    return -torch.expm1(q * log_p) / q
