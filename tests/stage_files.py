"""Stage records for tests, and the unpacked form as another tool would write it."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from maou.convert.stage2 import Task, legal_moves_of

Records = npt.NDArray[np.void]

TARGETS = {1: ("reachableSquares", (9, 9)), 2: ("legalMovesLabel", (1496,))}


def stage2_records(rows: npt.NDArray[np.uint8], folder: Path) -> Records:
    """Make the records of some hcpe rows, each distinct position once."""
    path = folder / "rows.hcpe"
    path.write_bytes(np.ascontiguousarray(rows).tobytes())
    records = legal_moves_of(Task(path, 0, len(rows)))
    path.unlink()
    return records[np.sort(np.unique(records["id"], return_index=True)[1])]


def flags_of(records: Records, stage: int) -> npt.NDArray[np.uint8]:
    """Read the targets bit by bit, uint8 [n, K]."""
    name, shape = TARGETS[stage]
    packed = records[name]
    places = np.arange(int(np.prod(shape)))
    return (packed[:, places // 8] >> (places % 8).astype(np.uint8)) & 1


def unpacked(records: Records, stage: int) -> Records:
    """Spread the targets to a byte each, in the type that the format names."""
    name, shape = TARGETS[stage]
    made = np.zeros(
        len(records),
        dtype=[
            ("id", "<u8"),
            ("boardIdPositions", "u1", (9, 9)),
            ("piecesInHand", "u1", (14,)),
            (name, "u1", shape),
        ],
    )
    for field in ("id", "boardIdPositions", "piecesInHand"):
        made[field] = records[field]
    made[name] = flags_of(records, stage).reshape(len(records), *shape)
    return made
