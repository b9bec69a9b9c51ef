"""The backbone: from a position to features of its squares and of the whole board.

Shapes: B batch, S 81 squares (row-major, a row a rank), H 14 hand counts, C channels.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from maou.model.config import ModelConfig
from maou.model.embedding import HandProjection, PieceEmbedding
from maou.model.registry import BACKBONE_ARCHITECTURES


class Features(NamedTuple):
    """What the heads see: [B, S, C] and its mean over the squares, [B, C]."""

    squares_BSC: Tensor
    board_BC: Tensor


class Backbone(nn.Module):
    """Embedding, hand projection, trunk, final norm and pool."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        trunk = BACKBONE_ARCHITECTURES[config.model_architecture].from_config(config)
        self.channels = trunk.channels
        self.embedding = PieceEmbedding(trunk.channels)
        self.hand_projection = HandProjection(trunk.channels)
        self.trunk = trunk
        self.final_norm = BoardNorm(trunk.channels)
        self._frozen: tuple[nn.Module, ...] = ()

    def groups(self) -> Sequence[nn.Module]:
        """List the trunk's layer groups from input to output."""
        return self.trunk.groups()

    def freeze(self, parts: Collection[nn.Module]) -> None:
        """Keep the parameters of some parts, and run them in evaluation mode always."""
        self._frozen = tuple(parts)
        for part in self._frozen:
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch the mode of what is not frozen."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def forward(self, board_BS: Tensor, hand_BH: Tensor) -> Features:
        """Take piece ids [B, S] and hand counts [B, H], integers of any type."""
        squares_BSC = self.embedding(board_BS) + self.hand_projection(hand_BH)
        squares_BSC = self.final_norm(self.trunk(squares_BSC))
        return Features(squares_BSC, squares_BSC.mean(dim=1))


class BoardNorm(nn.Module):
    """RMS normalisation over all squares and channels of one position.

    Zhang & Sennrich 2019 ("Root Mean Square Layer Normalization"), with a gain and a
    bias a channel. One factor for the whole board keeps what the squares have
    relative to each other, and no position sees another of its batch.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, squares_BSC: Tensor) -> Tensor:
        """Map [B, S, C] to [B, S, C]; the mean square is taken in float32."""
        mean_square = squares_BSC.float().square().mean(dim=(1, 2), keepdim=True)
        factor = torch.rsqrt(mean_square + 1e-6)
        return squares_BSC * factor * self.gain + self.bias
