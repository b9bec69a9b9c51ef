"""The heads: from the backbone's features to policy and value logits.

Shapes: B batch, S 81 squares (row-major, a row a rank), C channels, K 27 move
classes, M the 1496 move labels, V planes of the value head.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from maou.model.backbone import Features
from maou.model.convolution import SILU_GAIN, StandardizedConv2d
from maou.shogi.labels import CLASSES, LABEL_BOARD_INDEX, LABEL_CLASS, N_LABELS
from maou.shogi.squares import N_SQUARES

_VALUE_PLANES = 32
_VALUE_HIDDEN = 64


class PolicyHead(nn.Module):
    """One plane a move class; a label reads its class at its destination square."""

    label_index_M: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = StandardizedConv2d(channels, channels, 3, gain=SILU_GAIN)
        self.classes = nn.Conv2d(channels, len(CLASSES), 1, bias=False)
        self.label_bias_M = nn.Parameter(torch.zeros(N_LABELS))
        nn.init.zeros_(self.classes.weight)  # all moves alike at first: loss ln 1496
        index_M = torch.from_numpy(LABEL_CLASS * N_SQUARES + LABEL_BOARD_INDEX)
        self.register_buffer("label_index_M", index_M, persistent=False)

    def forward(self, features: Features) -> Tensor:
        """Give the logit of every label, [B, M]."""
        batch, _, channels = features.squares_BSC.shape
        planes = features.squares_BSC.view(batch, 9, 9, channels).permute(0, 3, 1, 2)
        classes_BKS: Tensor = self.classes(silu(self.conv(planes))).flatten(2)
        logits_BM = classes_BKS.flatten(1).index_select(1, self.label_index_M)
        return logits_BM + self.label_bias_M


class ValueHead(nn.Module):
    """The outlook from what a few planes show anywhere on the board.

    The planes are pooled, as in KataGo (Wu 2019, section 3.3). A layer that sees each
    square by itself recognises games instead: all positions of a game have its result
    (docs/decisions/0002).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.planes = nn.Linear(channels, _VALUE_PLANES)
        self.hidden = nn.Linear(2 * _VALUE_PLANES + channels, _VALUE_HIDDEN)
        self.hidden_norm = nn.LayerNorm(_VALUE_HIDDEN)
        self.outlook = nn.Linear(_VALUE_HIDDEN, 1)
        nn.init.zeros_(self.outlook.weight)  # win probability 0.5 at first
        nn.init.zeros_(self.outlook.bias)

    def forward(self, features: Features) -> Tensor:
        """Give the logit of the win probability of the side to move, [B]."""
        planes_BSV = silu(self.planes(features.squares_BSC))
        pooled = (planes_BSV.mean(dim=1), planes_BSV.amax(dim=1), features.board_BC)
        hidden = self.hidden(torch.cat(pooled, dim=1))
        logit: Tensor = self.outlook(silu(self.hidden_norm(hidden)))
        return logit.squeeze(1)
