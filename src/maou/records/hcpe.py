"""The hcpe record: one position, its evaluation, best move and game result.

Two forms exist. The *raw* form is the 38 bytes that dlshogi and its tools
exchange. The *rich* form adds where the row comes from; training needs only the
raw fields and, for the split, the game that `id` names.
"""

import numpy as np

HCPE = np.dtype(
    [
        ("hcp", "u1", (32,)),
        ("eval", "<i2"),
        ("bestMove16", "<u2"),
        ("gameResult", "u1"),
        ("dummy", "u1"),
    ]
)
"""Raw record, 38 bytes. `eval` is centipawn-like from the side to move;
`gameResult` is 0 draw, 1 black won, 2 white won in its two lowest bits."""

HCPE_BYTES = HCPE.itemsize

RAW_FIELDS = ("hcp", "eval", "bestMove16", "gameResult")
"""The fields that every hcpe container must have, with exactly these types."""


def rich_dtype(id_bytes: int = 64) -> np.dtype[np.void]:
    """Build the structured dtype of a rich `.npy` shard.

    Args:
        id_bytes: room for the UTF-8 bytes of `id`, which is `<game id>_<ply>`.
    """
    return np.dtype(
        [
            ("hcp", "u1", (32,)),
            ("eval", "<i2"),
            ("bestMove16", "<u2"),
            ("gameResult", "u1"),
            ("id", f"S{id_bytes}"),
            ("partitioningKey", "<M8[D]"),
            ("ratings", "<u2", (2,)),
            ("endgameStatus", "S16"),
            ("moves", "<i2"),
        ]
    )
