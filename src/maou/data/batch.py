"""Batches: what a loader gives and a network takes.

Compact until the device: about 100 bytes a position in one or two buffers, so that a
batch crosses from a worker, or to a GPU, in one piece. Planes, embeddings and dense
targets are made where the network is.
"""

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maou.shogi.labels import N_LABELS
from maou.shogi.pieces import HAND_MAX, HAND_SIZE, N_PIECE_IDS
from maou.shogi.samples import Samples
from maou.shogi.squares import N_SQUARES

_VALUE, _LABEL = 4, 2  # bytes; the widest type first keeps every part aligned
_SHARE, _ROW = 4, 4
_POSITION = _VALUE + N_SQUARES + HAND_SIZE
_MOVE = _SHARE + _ROW + _LABEL

BYTES_PER_POSITION = _POSITION + _LABEL
"""Size of a position with one move."""


class PositionBatch(ABC):
    """B positions from the side to move; S = 81 squares, H = 14 hand counts."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of positions."""

    @property
    @abstractmethod
    def board_BS(self) -> Tensor:
        """Piece ids 0..28, uint8 [B, 81], row-major with a row a rank."""

    @property
    @abstractmethod
    def hand_BH(self) -> Tensor:
        """Hand counts, own seven then the opponent's, uint8 [B, 14]."""

    @abstractmethod
    def take(self, begin: int, end: int) -> Self:
        """Copy the positions `begin` to `end` (exclusive), on the CPU."""

    @abstractmethod
    def pin_memory(self) -> Self:
        """Copy to page-locked memory (a DataLoader calls this)."""

    @abstractmethod
    def to(self, device: torch.device) -> Self:
        """Move to the device, without waiting where memory is page-locked."""

    @abstractmethod
    def check(self) -> None:
        """Check a batch that comes from a file.

        Raises:
            ValueError: it is laid out otherwise, or names a piece, a count in hand or
                a label that there is not.
        """


def _require_layout(buffer: object, size: int) -> None:
    """Refuse what is not a buffer of rows of so many bytes."""
    if not (isinstance(buffer, Tensor) and buffer.dtype == torch.uint8):
        raise ValueError("a batch holds something else than bytes")
    if buffer.ndim != 1 or buffer.shape[0] % size:
        raise ValueError(f"{list(buffer.shape)} bytes of a batch are no whole rows")


def _require_below(values: Tensor, limit: int | Tensor, what: str) -> None:
    """Refuse numbers that are negative, or not below a limit."""
    if bool(((values < 0) | (values >= limit)).any()):
        raise ValueError(f"a batch holds a {what} that there is not")


def _require_positions(batch: PositionBatch) -> None:
    """Refuse a batch that is empty or whose positions cannot be."""
    if not len(batch):
        raise ValueError("a batch is empty")
    _require_below(batch.board_BS, N_PIECE_IDS, "piece")
    _require_below(batch.hand_BH, torch.from_numpy(HAND_MAX) + 1, "count in hand")


class PlayedBatch(PositionBatch):
    """Positions of games, with what was played and how it ended; M = 1496 labels."""

    @property
    @abstractmethod
    def value_B(self) -> Tensor:
        """Result for the side to move, float32 [B]: 1 won, 0.5 drawn, 0 lost."""

    @abstractmethod
    def policy_target(self) -> Tensor:
        """Labels int64 [B], or the share of each label float32 [B, 1496]."""


@dataclass(frozen=True)
class Batch(PlayedBatch):
    """Positions with the one move that was played in each.

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
        """Result, float32 [B]."""
        return self._part(0, _VALUE).view(torch.float32)

    @property
    def label_B(self) -> Tensor:
        """Label of the move played, int64 [B], 0..1495."""
        return self._part(_VALUE, _VALUE + _LABEL).view(torch.int16).long()

    @property
    def board_BS(self) -> Tensor:
        """Piece ids, uint8 [B, 81]."""
        begin = _VALUE + _LABEL
        return self._part(begin, begin + N_SQUARES).view(-1, N_SQUARES)

    @property
    def hand_BH(self) -> Tensor:
        """Hand counts, uint8 [B, 14]."""
        begin = _VALUE + _LABEL + N_SQUARES
        return self._part(begin, BYTES_PER_POSITION).view(-1, HAND_SIZE)

    def policy_target(self) -> Tensor:
        """Return the labels, int64 [B]."""
        return self.label_B

    def take(self, begin: int, end: int) -> "Batch":
        """Copy some positions."""
        sizes = (_VALUE, _LABEL, N_SQUARES, HAND_SIZE)
        return Batch(_cut(self.buffer, sizes, begin, end))

    def pin_memory(self) -> "Batch":
        """Copy to page-locked memory."""
        return Batch(self.buffer.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        """Move to the device."""
        return Batch(self.buffer.to(device, non_blocking=True))

    def check(self) -> None:
        """Check a batch that comes from a file."""
        _require_layout(self.buffer, BYTES_PER_POSITION)
        _require_positions(self)
        _require_below(self.label_B, N_LABELS, "label")


def _cut(buffer: Tensor, sizes: tuple[int, ...], begin: int, end: int) -> Tensor:
    """Copy some rows of a buffer that holds one field of all rows after the other.

    Args:
        buffer: uint8 [sum(sizes) * B].
        sizes: bytes of each field.
        begin, end: the rows.
    """
    count = buffer.shape[0] // sum(sizes)
    parts, offset = [], 0
    for size in sizes:
        parts.append(buffer[offset + begin * size : offset + end * size])
        offset += size * count
    return torch.cat(parts)


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


@dataclass(frozen=True)
class SoftBatch(PlayedBatch):
    """Positions with all moves that were played in each, and their shares.

    Attributes:
        positions: uint8 [99 * B]: all values, all boards, all hands.
        moves: uint8 [10 * N]: all shares, all rows, all labels of the N moves.
    """

    positions: Tensor
    moves: Tensor

    def __len__(self) -> int:
        """Return the number of positions."""
        return self.positions.shape[0] // _POSITION

    def _part(self, begin: int, end: int) -> Tensor:
        return self.positions[begin * len(self) : end * len(self)]

    @property
    def value_B(self) -> Tensor:
        """Mean result, float32 [B]."""
        return self._part(0, _VALUE).view(torch.float32)

    @property
    def board_BS(self) -> Tensor:
        """Piece ids, uint8 [B, 81]."""
        return self._part(_VALUE, _VALUE + N_SQUARES).view(-1, N_SQUARES)

    @property
    def hand_BH(self) -> Tensor:
        """Hand counts, uint8 [B, 14]."""
        return self._part(_VALUE + N_SQUARES, _POSITION).view(-1, HAND_SIZE)

    def _moves(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give shares float32 [N], rows int32 [N] and labels int16 [N]."""
        count = self.moves.shape[0] // _MOVE
        share_N = self.moves[: _SHARE * count].view(torch.float32)
        row_N = self.moves[_SHARE * count : (_SHARE + _ROW) * count].view(torch.int32)
        return share_N, row_N, self.moves[(_SHARE + _ROW) * count :].view(torch.int16)

    def policy_target(self) -> Tensor:
        """Spread the shares over all labels, float32 [B, 1496]; each row sums to 1."""
        share_N, row_N, label_N = self._moves()
        shares_BM = torch.zeros(len(self), N_LABELS, device=share_N.device)
        shares_BM[row_N.long(), label_N.long()] = share_N
        return shares_BM

    def take(self, begin: int, end: int) -> "SoftBatch":
        """Copy some positions, with their moves."""
        _, row_N, _ = self._moves()
        ends = torch.tensor([begin, end], dtype=torch.int32)
        first, after = torch.searchsorted(row_N, ends).tolist()
        moves = _cut(self.moves, (_SHARE, _ROW, _LABEL), first, after)
        count = after - first
        moves[_SHARE * count : (_SHARE + _ROW) * count].view(torch.int32).sub_(begin)
        sizes = (_VALUE, N_SQUARES, HAND_SIZE)
        return SoftBatch(_cut(self.positions, sizes, begin, end), moves)

    def pin_memory(self) -> "SoftBatch":
        """Copy to page-locked memory."""
        return SoftBatch(self.positions.pin_memory(), self.moves.pin_memory())

    def to(self, device: torch.device) -> "SoftBatch":
        """Move to the device."""
        return SoftBatch(
            self.positions.to(device, non_blocking=True),
            self.moves.to(device, non_blocking=True),
        )

    def check(self) -> None:
        """Check a batch that comes from a file."""
        _require_layout(self.positions, _POSITION)
        _require_layout(self.moves, _MOVE)
        _require_positions(self)
        _, row_N, label_N = self._moves()
        _require_below(label_N, N_LABELS, "label")
        _require_below(row_N, len(self), "row")
        if bool((row_N[1:] < row_N[:-1]).any()):
            raise ValueError("the moves of a batch are not in the order of its rows")


def soft_batch(
    board_BS: npt.NDArray[np.uint8],
    hand_BH: npt.NDArray[np.uint8],
    value_B: npt.NDArray[np.float32],
    sizes_B: npt.NDArray[np.int64],
    moves: tuple[npt.NDArray[np.int16], npt.NDArray[np.float32]],
) -> SoftBatch:
    """Lay out positions and their moves (labels and shares, a position's together).

    Args:
        board_BS: piece ids, uint8 [B, 81].
        hand_BH: hand counts, uint8 [B, 14].
        value_B: mean results, float32 [B].
        sizes_B: how many moves each position has, int64 [B].
        moves: labels int16 [N] and shares float32 [N].
    """
    labels, shares = moves
    rows = np.repeat(np.arange(len(sizes_B), dtype=np.int32), sizes_B)
    positions = (value_B.view(np.uint8), board_BS.reshape(-1), hand_BH.reshape(-1))
    entries = (shares.view(np.uint8), rows.view(np.uint8), labels.view(np.uint8))
    return SoftBatch(
        torch.from_numpy(np.concatenate(positions)),
        torch.from_numpy(np.concatenate(entries)),
    )


@dataclass(frozen=True)
class FlagBatch(PositionBatch):
    """Positions with K yes-or-no targets each, as stages 1 and 2 learn them.

    Attributes:
        buffer: uint8 [(95 + P) * B]: all boards, all hands, all flags as P = K / 8
            bytes (rounded up), least significant bit first.
        flags: K, the number of targets of a position.
    """

    buffer: Tensor
    flags: int

    def __len__(self) -> int:
        """Return the number of positions."""
        return self.buffer.shape[0] // self._bytes

    @property
    def _bytes(self) -> int:
        return N_SQUARES + HAND_SIZE + -(-self.flags // 8)

    def _part(self, begin: int, end: int) -> Tensor:
        part = self.buffer[begin * len(self) : end * len(self)]
        return part.view(-1, end - begin)

    @property
    def board_BS(self) -> Tensor:
        """Piece ids, uint8 [B, 81]."""
        return self._part(0, N_SQUARES)

    @property
    def hand_BH(self) -> Tensor:
        """Hand counts, uint8 [B, 14]."""
        return self._part(N_SQUARES, N_SQUARES + HAND_SIZE)

    def flags_BK(self) -> Tensor:
        """Unpack the targets where the batch is, float32 [B, K] of 0 and 1."""
        packed_BP = self._part(N_SQUARES + HAND_SIZE, self._bytes)
        bit = torch.arange(8, dtype=torch.uint8, device=packed_BP.device)
        bits_BP8 = (packed_BP[:, :, None] >> bit) & 1
        return bits_BP8.flatten(1)[:, : self.flags].float()

    def take(self, begin: int, end: int) -> "FlagBatch":
        """Copy some positions."""
        sizes = (N_SQUARES, HAND_SIZE, -(-self.flags // 8))
        return FlagBatch(_cut(self.buffer, sizes, begin, end), self.flags)

    def pin_memory(self) -> "FlagBatch":
        """Copy to page-locked memory."""
        return FlagBatch(self.buffer.pin_memory(), self.flags)

    def to(self, device: torch.device) -> "FlagBatch":
        """Move to the device."""
        return FlagBatch(self.buffer.to(device, non_blocking=True), self.flags)

    def check(self) -> None:
        """Check a batch that comes from a file."""
        if type(self.flags) is not int or self.flags < 1:
            raise ValueError(f"a batch has {self.flags} targets")
        _require_layout(self.buffer, self._bytes)
        _require_positions(self)


def flag_batch(
    board_BS: npt.NDArray[np.uint8],
    hand_BH: npt.NDArray[np.uint8],
    packed_BP: npt.NDArray[np.uint8],
    flags: int,
) -> FlagBatch:
    """Lay out positions and their targets.

    Args:
        board_BS: piece ids, uint8 [B, 81].
        hand_BH: hand counts, uint8 [B, 14].
        packed_BP: targets as bits, least significant first, uint8 [B, P].
        flags: how many targets a position has.
    """
    parts = [part.reshape(-1) for part in (board_BS, hand_BH, packed_BP)]
    return FlagBatch(torch.from_numpy(np.concatenate(parts)), flags)
