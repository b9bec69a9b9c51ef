"""The heads: from the backbone's features to logits of what is trained.

Shapes: B batch, S 81 squares (row-major, a row a rank), C channels, K 27 move
classes, M the 1496 move labels, V planes of the value head.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from maou.model.backbone import Features
from maou.model.convolution import SILU_GAIN, StandardizedConv2d
from maou.model.linear import NormalizedLinear
from maou.shogi.labels import CLASSES, LABEL_BOARD_INDEX, LABEL_CLASS, N_LABELS
from maou.shogi.squares import N_SQUARES

_VALUE_PLANES = 32
_VALUE_HIDDEN = 64

_REACHABLE_SHARE = 0.098
"""Share of the squares that are reachable, over the 1,105 cases of stage 1."""

_LEGAL_SHARE = 0.048
"""Share of the labels that are legal moves, over 22,000 positions of real games."""


class LabelHead(nn.Module):
    """Base of the heads over move labels: a label reads its class at its destination.

    To that score it adds a bias of its own.
    """

    label_index_M: Tensor

    def __init__(self, label_bias: float) -> None:
        """Start every label's bias at one value."""
        super().__init__()
        self.label_bias_M = nn.Parameter(torch.full((N_LABELS,), label_bias))
        index_M = torch.from_numpy(LABEL_CLASS * N_SQUARES + LABEL_BOARD_INDEX)
        self.register_buffer("label_index_M", index_M, persistent=False)

    def label_logits(self, classes_BKS: Tensor) -> Tensor:
        """Give the logit of every label, [B, M], from those of classes and squares."""
        logits_BM = classes_BKS.flatten(1).index_select(1, self.label_index_M)
        return logits_BM + self.label_bias_M


class PolicyHead(LabelHead):
    """One plane a move class; a label reads its class at its destination square."""

    def __init__(self, channels: int) -> None:
        super().__init__(label_bias=0.0)
        self.conv = StandardizedConv2d(channels, channels, 3, gain=SILU_GAIN)
        self.classes = nn.Conv2d(channels, len(CLASSES), 1, bias=False)
        nn.init.zeros_(self.classes.weight)  # all moves alike at first: loss ln 1496

    def forward(self, features: Features) -> Tensor:
        """Give the logit of every label, [B, M]."""
        batch, _, channels = features.squares_BSC.shape
        planes = features.squares_BSC.view(batch, 9, 9, channels).permute(0, 3, 1, 2)
        classes_BKS: Tensor = self.classes(silu(self.conv(planes))).flatten(2)
        return self.label_logits(classes_BKS)


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


class ReachableHead(nn.Module):
    """Whether a piece can be put on a square, as that square's features say.

    A single layer, so that what stage 1 teaches is learned by the backbone.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Normalised, with a gain: in ten epochs at the default rate an ordinary layer
        # learned nothing, and from a gain of 0 some seeds stayed at "no square" long,
        # probably as a gain about 0 keeps turning the backbone's gradient round.
        self.reachable = NormalizedLinear(channels, 1, gain=1.0)
        nn.init.constant_(self.reachable.bias, _log_odds(_REACHABLE_SHARE))

    def forward(self, features: Features) -> Tensor:
        """Give the logit of every square, [B, S]."""
        logits_BS1: Tensor = self.reachable(features.squares_BSC)
        return logits_BS1.squeeze(2)


class LegalMovesHead(LabelHead):
    """Scores of the move classes a square; a label reads its class's."""

    def __init__(
        self, channels: int, *, hidden_dim: int | None = None, dropout: float = 0.0
    ) -> None:
        """Read the classes from the features, or from a hidden layer over them.

        Args:
            channels: width of the features.
            hidden_dim: hidden width a square; None reads the features themselves.
            dropout: share of the hidden values that is dropped while training.
        """
        super().__init__(label_bias=_log_odds(_LEGAL_SHARE))
        self.hidden: nn.Module = nn.Identity()
        if hidden_dim is not None:
            inner = NormalizedLinear(channels, hidden_dim, gain=SILU_GAIN)
            self.hidden = nn.Sequential(inner, nn.SiLU(), nn.Dropout(dropout))
        width = hidden_dim or channels
        self.classes = NormalizedLinear(width, len(CLASSES), gain=0.0)

    def forward(self, features: Features) -> Tensor:
        """Give the logit of every label, [B, M]."""
        classes_BSK: Tensor = self.classes(self.hidden(features.squares_BSC))
        return self.label_logits(classes_BSK.transpose(1, 2))


def _log_odds(share: float) -> float:
    """Give the logit with which flags that are true this often cost least."""
    return math.log(share / (1.0 - share))
