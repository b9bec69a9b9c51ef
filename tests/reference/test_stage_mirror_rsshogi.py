"""Mirrored stage 2 targets against rsshogi's legal moves of the mirrored positions."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from test_mirror_cshogi import mirrored_rows

from maou.convert.stage2 import Task, legal_moves_of
from maou.data.stage_rows import LEGAL_MOVES_ROWS

STEP = 23  # 2,411 of 55,437 positions


def test_mirrored_flags_are_the_legal_moves_of_the_mirrored_position(
    selfplay_rows: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    rows = selfplay_rows[::STEP]
    made = []
    for name, some in (("plain", rows), ("mirrored", mirrored_rows(rows))):
        path = tmp_path / f"{name}.hcpe"
        path.write_bytes(np.ascontiguousarray(some).tobytes())
        made.append(legal_moves_of(Task(path, 0, len(some))))
    plain, twins = made
    index, every = np.arange(len(rows)), np.ones(len(rows), dtype=np.bool_)
    ours = LEGAL_MOVES_ROWS.encode(plain, index, str, every)
    expected = LEGAL_MOVES_ROWS.encode(twins, index, str)
    assert np.array_equal(ours.board_BS.numpy(), expected.board_BS.numpy())
    assert np.array_equal(ours.hand_BH.numpy(), expected.hand_BH.numpy())
    assert np.array_equal(ours.flags_BK().numpy(), expected.flags_BK().numpy())
    assert not np.array_equal(
        ours.buffer.numpy(), LEGAL_MOVES_ROWS.encode(plain, index, str).buffer.numpy()
    )
