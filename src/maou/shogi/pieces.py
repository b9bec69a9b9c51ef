"""Piece ids and hands, as every sample carries them.

Every sample is seen from the side to move: ids 1..14 are its own pieces, 15..28 the
opponent's. Hands are 14 counts, the own seven kinds and then the opponent's.
"""

import numpy as np

KINDS = ("P", "L", "N", "S", "G", "B", "R")
"""The kinds that can be held, in the order of hands and of drop labels."""

KIND_COUNTS = (18, 4, 4, 4, 4, 2, 2)
"""How many of each kind a full set has, hence the most a hand can hold."""

DROP_ORIGINS = ("P", "L", "N", "S", "B", "R", "G")
"""A move16 names a drop by the origin 81 + the index of the kind in this order."""

EMPTY, PAWN, LANCE, KNIGHT, SILVER, GOLD, BISHOP, ROOK, KING = range(9)
PRO_PAWN, PRO_LANCE, PRO_KNIGHT, PRO_SILVER, HORSE, DRAGON = range(9, 15)

KIND_IDS = (PAWN, LANCE, KNIGHT, SILVER, GOLD, BISHOP, ROOK)
"""The own, unpromoted piece of each kind of `KINDS`."""

N_OWN = 14
"""Added to an own piece's id to get the opponent's."""

N_PIECE_IDS = 2 * N_OWN + 1

PROMOTED = {
    PAWN: PRO_PAWN,
    LANCE: PRO_LANCE,
    KNIGHT: PRO_KNIGHT,
    SILVER: PRO_SILVER,
    BISHOP: HORSE,
    ROOK: DRAGON,
}

HAND_SIZE = 2 * len(KINDS)

HAND_MAX = np.array(KIND_COUNTS * 2, dtype=np.uint8)
"""The most each of the 14 hand counts can be."""
