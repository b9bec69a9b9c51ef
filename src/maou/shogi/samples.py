"""From hcpe bytes to training samples in one pass.

A sample is what leaves a loader: piece ids, hand counts, the label of the move played
and the result, all from the side to move, about 100 bytes a position.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maou.shogi.compiled import kernel, over_rows, signed
from maou.shogi.hcp import STATUS_TEXT, VALID, decode_row
from maou.shogi.labels import MIRROR_LABEL, MOVE_LABEL
from maou.shogi.pieces import HAND_SIZE
from maou.shogi.squares import MIRROR_BOARD, N_SQUARES

BAD_MOVE = 4
BAD_RESULT = 5

SAMPLE_STATUS_TEXT = {
    **STATUS_TEXT,
    BAD_MOVE: "bestMove16 is not a move of any piece",
    BAD_RESULT: "gameResult is not 0 (draw), 1 (black won) or 2 (white won)",
}
"""What a sample's non-zero status means, for error messages."""

_MOVE_AT, _RESULT_AT = 34, 36
_MIRROR = MIRROR_BOARD.astype(np.int64)


class Samples(NamedTuple):
    """Decoded samples; B rows, S = 81 squares, H = 14 hand counts."""

    board_BS: npt.NDArray[np.uint8]
    """Piece ids 0..28, uint8 [B, 81], row-major with a row a rank."""

    hand_BH: npt.NDArray[np.uint8]
    """Hand counts, own seven then the opponent's, uint8 [B, 14]."""

    label_B: npt.NDArray[np.int16]
    """Label of the move played, int16 [B], 0..1495."""

    value_B: npt.NDArray[np.float32]
    """Result for the side to move, float32 [B]: 1 won, 0.5 drawn, 0 lost."""

    status_B: npt.NDArray[np.uint8]
    """0, or why the row is not a sample (`SAMPLE_STATUS_TEXT`), uint8 [B]."""


@kernel
def move_label(move16: int, turn: int) -> int:
    """Label of a move16 for the side to move (0 black, 1 white); -1 if it is none."""
    destination = move16 & 127
    origin = move16 >> 7 & 127
    promotes = move16 >> 14 & 1
    if destination >= N_SQUARES or origin >= MOVE_LABEL.shape[0]:
        return -1
    if turn == 1:
        destination = 80 - destination
        if origin < N_SQUARES:
            origin = 80 - origin
    return signed(MOVE_LABEL[origin, destination, promotes])


@kernel
def _decode_range(
    rows: npt.NDArray[np.uint8],
    index: npt.NDArray[np.int64],
    samples: Samples,
    start: int,
    stop: int,
) -> None:
    for i in range(start, stop):
        row = rows[index[i]]
        status = decode_row(row, samples.board_BS[i], samples.hand_BH[i])
        turn = signed(row[0] & 1)
        move16 = signed(row[_MOVE_AT]) | signed(row[_MOVE_AT + 1]) << 8
        label = move_label(move16, turn)
        result = signed(row[_RESULT_AT] & 3)
        samples.label_B[i] = label
        samples.value_B[i] = 0.5
        if result != 0:
            samples.value_B[i] = 1.0 if result == turn + 1 else 0.0
        if status == VALID:
            if label < 0:
                status = BAD_MOVE
            elif result == 3:
                status = BAD_RESULT
        samples.status_B[i] = status


def empty_samples(count: int) -> Samples:
    """Allocate room for samples."""
    return Samples(
        board_BS=np.empty((count, N_SQUARES), dtype=np.uint8),
        hand_BH=np.empty((count, HAND_SIZE), dtype=np.uint8),
        label_B=np.empty(count, dtype=np.int16),
        value_B=np.empty(count, dtype=np.float32),
        status_B=np.empty(count, dtype=np.uint8),
    )


def decode_samples(
    rows: npt.NDArray[np.uint8],
    index: npt.NDArray[np.int64] | None = None,
    out: Samples | None = None,
    threads: int = 1,
) -> Samples:
    """Decode hcpe rows, in the given order.

    Args:
        rows: raw hcpe records, uint8 [N, 38].
        index: which rows to take, int64 [B]; all of them in order when None.
        out: where to put them; allocated when None.
        threads: how many threads share the work.

    Returns:
        B samples. Rows that are not valid are marked in `status_B`; nothing raises.
    """
    if index is None:
        index = np.arange(len(rows), dtype=np.int64)
    samples = empty_samples(len(index)) if out is None else out
    over_rows(
        lambda a, b: _decode_range(rows, index, samples, a, b),
        len(index),
        threads,
    )
    return samples


@kernel
def _mirror_rows(samples: Samples, chosen_B: npt.NDArray[np.bool_]) -> None:
    copy = np.empty(N_SQUARES, dtype=np.uint8)
    for i in range(len(chosen_B)):
        if chosen_B[i]:
            copy[:] = samples.board_BS[i]
            for square in range(N_SQUARES):
                samples.board_BS[i, square] = copy[_MIRROR[square]]
            if samples.label_B[i] >= 0:
                samples.label_B[i] = MIRROR_LABEL[samples.label_B[i]]


def mirror_samples(samples: Samples, chosen_B: npt.NDArray[np.bool_]) -> None:
    """Mirror the chosen samples left to right, in place.

    Shogi's rules are symmetric under the exchange of files 1..9 and 9..1, so a
    mirrored position with the mirrored move is as valid as the original.

    Args:
        samples: decoded samples.
        chosen_B: which of them to mirror, bool [B].
    """
    _mirror_rows(samples, chosen_B)
