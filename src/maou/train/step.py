"""One optimiser step.

The loss of a step is the mean over all rows of its effective batch: each micro-batch
adds its sum divided by the rows of them all, so accumulating gives the gradient of the
one big batch, whatever the sizes of its parts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from maou.data.batch import PositionBatch
from maou.losses.config import LossConfig
from maou.losses.total import Targets, total_loss
from maou.train.device import Compute
from maou.train.metrics import first_move_hits


class StepSums(NamedTuple):
    """Sums over a step's rows, on the device: float64 [4].

    In order: total loss, policy loss, value loss, moves that the policy put first.
    """

    sums_4: Tensor
    rows: int


def accumulate_gradients(
    forward: nn.Module,
    batches: Sequence[PositionBatch],
    config: LossConfig,
    compute: Compute,
) -> StepSums:
    """Add the gradient of the mean loss over all rows of some batches.

    Args:
        forward: the network, compiled or not, in training mode.
        batches: the micro-batches of one step.
        config: the loss.
        compute: where to compute.

    Returns:
        The sums of the step; nothing waits for the device.
    """
    rows = sum(len(batch) for batch in batches)
    sums_4 = torch.zeros(4, dtype=torch.float64, device=compute.device)
    for micro in batches:
        batch = micro.to(compute.device)
        with compute.forward_context():
            outputs = forward(batch.board_BS, batch.hand_BH)
        targets = Targets(batch.policy_target(), batch.value_B)
        losses = total_loss(outputs, targets, config)
        (losses.total_B.sum() / rows).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            hits_B = first_move_hits(outputs.policy_logits_BM, targets.policy)
            columns = (*losses, hits_B)
            sums_4 += torch.stack([column.double().sum() for column in columns])
    return StepSums(sums_4, rows)
