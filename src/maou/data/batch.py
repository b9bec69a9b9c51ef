"""The batch: what a loader gives and a network takes.

Compact until the device: 101 bytes a position in one buffer, so that a batch crosses
from a worker, or to a GPU, in one piece. Planes and embeddings are made where the
network is.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maou.shogi.pieces import HAND_SIZE
from maou.shogi.samples import Samples
from maou.shogi.squares import N_SQUARES

_VALUE, _LABEL = 4, 2  # bytes; the widest type first keeps every part aligned
BYTES_PER_POSITION = _VALUE + _LABEL + N_SQUARES + HAND_SIZE


@dataclass(frozen=True)
class Batch:
    """B positions from the side to move; S = 81 squares, H = 14 hand counts.

    Attributes:
        buffer: uint8 [101 * B]: all values, all labels, all boards, all hands.
    """

    buffer: Tensor

    def __len__(self) -> int:
        """Return the number of positions."""
        return self.buffer.shape[0] // BYTES_PER_POSITION

    def _part(self, begin: int, end: int) -> Tensor:
        return self.buffer[begin * len(self) : end * len(self)]

    @property
    def value_B(self) -> Tensor:
        """Result for the side to move, float32 [B]: 1 won, 0.5 drawn, 0 lost."""
        return self._part(0, _VALUE).view(torch.float32)

    @property
    def label_B(self) -> Tensor:
        """Label of the move played, int64 [B], 0..1495."""
        return self._part(_VALUE, _VALUE + _LABEL).view(torch.int16).long()

    @property
    def board_BS(self) -> Tensor:
        """Piece ids 0..28, uint8 [B, 81], row-major with a row a rank."""
        begin = _VALUE + _LABEL
        return self._part(begin, begin + N_SQUARES).view(-1, N_SQUARES)

    @property
    def hand_BH(self) -> Tensor:
        """Hand counts, own seven then the opponent's, uint8 [B, 14]."""
        begin = _VALUE + _LABEL + N_SQUARES
        return self._part(begin, BYTES_PER_POSITION).view(-1, HAND_SIZE)

    def pin_memory(self) -> "Batch":
        """Copy to page-locked memory (a DataLoader calls this)."""
        return Batch(self.buffer.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        """Move to the device, without waiting where memory is page-locked."""
        return Batch(self.buffer.to(device, non_blocking=True))


def new_batch(count: int) -> tuple[Batch, Samples]:
    """Allocate a batch on the CPU, and the samples whose arrays are its parts."""
    buffer = np.empty(count * BYTES_PER_POSITION, dtype=np.uint8)
    cuts = np.cumsum([0, _VALUE, _LABEL, N_SQUARES, HAND_SIZE]) * count
    value, label, board, hand = (buffer[a:b] for a, b in itertools.pairwise(cuts))
    samples = Samples(
        board_BS=board.reshape(count, N_SQUARES),
        hand_BH=hand.reshape(count, HAND_SIZE),
        label_B=label.view(np.int16),
        value_B=value.view(np.float32),
        status_B=np.empty(count, dtype=np.uint8),
    )
    return Batch(torch.from_numpy(buffer)), samples
