"""From piece ids and hand counts to one vector a square.

Shapes: B batch, S 81 squares (row-major, a row a rank), H 14 hand counts, C channels.
"""

import torch
from torch import Tensor, nn

from maou.shogi.pieces import HAND_MAX, HAND_SIZE, N_PIECE_IDS
from maou.shogi.squares import N_SQUARES


class PieceEmbedding(nn.Module):
    """What stands on a square, plus which square it is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pieces = nn.Embedding(N_PIECE_IDS, channels)
        self.square_bias_SC = nn.Parameter(torch.empty(N_SQUARES, channels))
        nn.init.normal_(self.pieces.weight)
        # Smaller than the pieces: at first every square is read much alike.
        nn.init.normal_(self.square_bias_SC, std=0.1)

    def forward(self, board_BS: Tensor) -> Tensor:
        """Embed piece ids 0..28 (any integer type); gives [B, S, C]."""
        pieces_BSC: Tensor = self.pieces(board_BS.long())
        return pieces_BSC + self.square_bias_SC


class HandProjection(nn.Module):
    """The hands as one vector, which is added to every square."""

    largest_H: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(HAND_SIZE, channels)
        largest_H = torch.from_numpy(HAND_MAX).float()
        self.register_buffer("largest_H", largest_H, persistent=False)

    def forward(self, hand_BH: Tensor) -> Tensor:
        """Scale each count by the most a hand can hold; gives [B, 1, C]."""
        hand_BC: Tensor = self.linear(hand_BH / self.largest_H)
        return hand_BC.unsqueeze(1)
