"""The whole networks: a backbone with the heads of what is trained.

Policy and value is what all training is for; the other two networks train the backbone
on simpler questions before (stages 1 and 2).

Shapes: B batch, S 81 squares (row-major, a row a rank), H 14 hand counts, M the 1496
move labels. Every network takes piece ids 0..28, integers of any type, [B, S], and hand
counts, own seven (P L N S G B R) then the opponent's, integers of any type, [B, H].
"""

from typing import NamedTuple

from torch import Tensor, nn

from maou.model.backbone import Backbone
from maou.model.config import LegalMovesHeadConfig, ModelConfig
from maou.model.heads import LegalMovesHead, PolicyHead, ReachableHead, ValueHead


class Outputs(NamedTuple):
    """Raw scores [B, M] of the moves; logit [B] of the mover's win probability."""

    policy_logits_BM: Tensor
    value_logit_B: Tensor


class BackboneNetwork(nn.Module):
    """Base of the networks: the backbone, and positions seen from the side to move."""

    def __init__(self, config: ModelConfig) -> None:
        """Draw fresh parameters of the backbone from torch's global generator."""
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)

    @property
    def heads(self) -> list[str]:
        """Names of the heads, as part files have them."""
        return [name for name, _ in self.named_children() if name != "backbone"]


class Network(BackboneNetwork):
    """Policy and value."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.policy_head = PolicyHead(self.backbone.channels)
        self.value_head = ValueHead(self.backbone.channels)

    def forward(self, board_BS: Tensor, hand_BH: Tensor) -> Outputs:
        """Judge positions."""
        features = self.backbone(board_BS, hand_BH)
        return Outputs(self.policy_head(features), self.value_head(features))


class ReachableNetwork(BackboneNetwork):
    """Stage 1: which squares the side to move can put a piece on."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.reachable_head = ReachableHead(self.backbone.channels)

    def forward(self, board_BS: Tensor, hand_BH: Tensor) -> Tensor:
        """Give the logit of every square, [B, S], in the order of `board_BS`."""
        logits_BS: Tensor = self.reachable_head(self.backbone(board_BS, hand_BH))
        return logits_BS


class LegalMovesNetwork(BackboneNetwork):
    """Stage 2: which moves are legal."""

    def __init__(self, config: ModelConfig, head: LegalMovesHeadConfig) -> None:
        super().__init__(config)
        self.legal_moves_head = LegalMovesHead(
            self.backbone.channels,
            hidden_dim=head.stage2_hidden_dim,
            dropout=head.stage2_head_dropout,
        )

    def forward(self, board_BS: Tensor, hand_BH: Tensor) -> Tensor:
        """Give the logit of every move, [B, M], in the order of the labels."""
        logits_BM: Tensor = self.legal_moves_head(self.backbone(board_BS, hand_BH))
        return logits_BM


def build_network(config: ModelConfig) -> Network:
    """Build a network with fresh parameters, drawn from torch's global generator."""
    return Network(config)
