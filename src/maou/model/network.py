"""The whole network: a backbone with a policy head and a value head.

Shapes: B batch, S 81 squares (row-major, a row a rank), H 14 hand counts, M the 1496
move labels.
"""

from typing import NamedTuple

from torch import Tensor, nn

from maou.model.backbone import Backbone
from maou.model.config import ModelConfig
from maou.model.heads import PolicyHead, ValueHead


class Outputs(NamedTuple):
    """Raw scores [B, M] of the moves; logit [B] of the mover's win probability."""

    policy_logits_BM: Tensor
    value_logit_B: Tensor


class Network(nn.Module):
    """Policy and value of positions seen from the side to move."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.policy_head = PolicyHead(self.backbone.channels)
        self.value_head = ValueHead(self.backbone.channels)

    def forward(self, board_BS: Tensor, hand_BH: Tensor) -> Outputs:
        """Judge positions.

        Args:
            board_BS: piece ids 0..28, integers of any type, [B, S].
            hand_BH: hand counts, own seven (P L N S G B R) then the opponent's,
                integers of any type, [B, H].
        """
        features = self.backbone(board_BS, hand_BH)
        return Outputs(self.policy_head(features), self.value_head(features))


def build_network(config: ModelConfig) -> Network:
    """Build a network with fresh parameters, drawn from torch's global generator."""
    return Network(config)
