"""Policy labels: 1496 = (way of arriving, destination), from the mover's side.

A way is named by how the piece moves when the mover plays up the board, towards
rank a; *left* means the file number grows. Distance is not part of a label: a rook
that moves up one square or five has the same way, and the destination differs. Of two
pieces on one ray the nearer blocks the farther, so no two legal moves of a position
share a label; labels merge only moves of different positions.

The classes in order: ten ways, the same ten promoting, seven drops. Within a class
the destinations that can occur run in rising square order.
"""

import numpy as np
import numpy.typing as npt

from maou.shogi.pieces import DROP_ORIGINS, KINDS
from maou.shogi.squares import BOARD_INDEX, FILE, MIRROR_SQUARE, N_SQUARES, RANK

LABEL_SCHEME = "maou-1496-v1"
"""Written into checkpoints and exported models; changes when a label's meaning does."""

WAYS = (
    "up",
    "up-left",
    "up-right",
    "left",
    "right",
    "down",
    "down-left",
    "down-right",
    "knight-left",
    "knight-right",
)
N_WAYS = len(WAYS)
CLASSES = (
    *WAYS,
    *(f"promote {way}" for way in WAYS),
    *(f"drop {kind}" for kind in KINDS),
)

_STEP_WAY = {
    (0, -1): 0,
    (1, -1): 1,
    (-1, -1): 2,
    (1, 0): 3,
    (-1, 0): 4,
    (0, 1): 5,
    (1, 1): 6,
    (-1, 1): 7,
}
"""(sign of the file change, sign of the rank change) to the way."""

_PROMOTION_RANKS = 3
_FIRST_DROP_RANK = {"P": 1, "L": 1, "N": 2}


def _way(origin: int, destination: int) -> int | None:
    """Name the way from one square to another; None where no piece moves so."""
    files = int(FILE[destination] - FILE[origin])
    ranks = int(RANK[destination] - RANK[origin])
    if ranks == -2 and abs(files) == 1:
        return 8 if files > 0 else 9
    straight_or_diagonal = 0 in {files, ranks} or abs(files) == abs(ranks)
    if origin == destination or not straight_or_diagonal:
        return None
    return _STEP_WAY[int(np.sign(files)), int(np.sign(ranks))]


def _build() -> tuple[npt.NDArray[np.int16], list[tuple[int, int]]]:
    """Enumerate the labels; return the move table and each label's (class, square)."""
    classes = np.full((N_SQUARES + len(KINDS), N_SQUARES, 2), -1, dtype=np.int64)
    for origin in range(N_SQUARES):
        for destination in range(N_SQUARES):
            way = _way(origin, destination)
            if way is None:
                continue
            if way < 8 or RANK[destination] >= 2:  # a knight there must promote
                classes[origin, destination, 0] = way
            if min(RANK[origin], RANK[destination]) < _PROMOTION_RANKS:
                classes[origin, destination, 1] = N_WAYS + way
    for index, kind in enumerate(DROP_ORIGINS):
        allowed = _FIRST_DROP_RANK.get(kind, 0) <= RANK
        classes[N_SQUARES + index, allowed, 0] = 2 * N_WAYS + KINDS.index(kind)

    meanings: list[tuple[int, int]] = []
    moves = np.full(classes.shape, -1, dtype=np.int16)
    for number in range(len(CLASSES)):
        for destination in range(N_SQUARES):
            arriving = classes[:, destination, :] == number
            if arriving.any():
                moves[:, destination, :][arriving] = len(meanings)
                meanings.append((number, destination))
    return moves, meanings


MOVE_LABEL, _MEANINGS = _build()
"""Label by [origin, destination, promotes], int16 [88, 81, 2]; -1 where no move is.

Origins 81..87 are drops, in the order of `DROP_ORIGINS`. Squares are the mover's
(rotated by 180 degrees for white)."""

N_LABELS = len(_MEANINGS)

LABEL_CLASS = np.array([number for number, _ in _MEANINGS], dtype=np.int64)
"""Class of each label, an index into `CLASSES`."""

LABEL_SQUARE = np.array([square for _, square in _MEANINGS], dtype=np.int64)
"""Destination square of each label."""

LABEL_BOARD_INDEX = BOARD_INDEX[LABEL_SQUARE]
"""Destination of each label as an index into the row-major board."""


def _mirror() -> npt.NDArray[np.int16]:
    left_right = {1: 2, 2: 1, 3: 4, 4: 3, 6: 7, 7: 6, 8: 9, 9: 8}
    number_of = {meaning: label for label, meaning in enumerate(_MEANINGS)}
    mirrored = np.empty(N_LABELS, dtype=np.int16)
    for label, (number, square) in enumerate(_MEANINGS):
        if number < 2 * N_WAYS:
            promotes, way = divmod(number, N_WAYS)
            number = promotes * N_WAYS + left_right.get(way, way)  # noqa: PLW2901
        mirrored[label] = number_of[number, int(MIRROR_SQUARE[square])]
    return mirrored


MIRROR_LABEL = _mirror()
"""Label of the mirrored move, int16 [1496]; its own inverse."""
