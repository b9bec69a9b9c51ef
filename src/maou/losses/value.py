"""The value loss: binary cross-entropy against the game's (mean) result.

Shapes: B batch.
"""

from torch import Tensor
from torch.nn import functional


def value_loss(logit_B: Tensor, result_B: Tensor) -> Tensor:
    """Give -(r log p + (1 - r) log(1 - p)) of each row, p = sigmoid(logit).

    Args:
        logit_B: logit of the win probability of the side to move, any float type;
            the loss is computed in float32.
        result_B: result for the side to move in [0, 1]; a draw is 0.5.

    Returns:
        float32 [B]. A draw costs log 2 at best: the loss keeps the target's entropy.
    """
    return functional.binary_cross_entropy_with_logits(
        logit_B.float(), result_B.float(), reduction="none"
    )
