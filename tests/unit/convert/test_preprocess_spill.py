"""Adding up entries, runs on disk, and merging them, against a plain dictionary."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maou.convert.merging import Merge, Ranges, plan_merges
from maou.convert.spill import (
    Entries,
    Run,
    combined,
    enter_excluded,
    enter_rows,
    grouped,
    ids_of,
    merge_runs,
    write_run,
)
from maou.errors import DataError
from maou.records.write_preprocess import write_preprocess_shard
from preprocess_blocks import made_block, part_of

Rows = npt.NDArray[np.uint8]
ONE = 1 << 32

ENTRY = st.tuples(
    st.integers(0, 2), st.integers(0, 1), st.integers(0, 3), st.integers(1, 9)
)
"""Two words of the code, a label, a count."""


def entries_of(listed: list[tuple[int, int, int, int]]) -> Entries:
    made = np.zeros((len(listed), 6), dtype=np.uint64)
    for row, (first, last, label, count) in zip(made, listed, strict=True):
        row[0], row[3], row[4], row[5] = first, last, label, count * ONE + count
    return made


def summed(entries: Entries) -> dict[tuple[int, ...], int]:
    found: dict[tuple[int, ...], int] = {}
    for *key, sums in entries.tolist():
        found[tuple(key)] = found.get(tuple(key), 0) + sums
    return found


@given(st.lists(ENTRY, max_size=60), st.booleans())
def test_combined_is_a_dictionary_in_order(
    listed: list[tuple[int, int, int, int]], collide: bool
) -> None:
    entries = entries_of(listed)
    # With one id for all, only the comparison of whole codes keeps positions apart.
    ids = np.full(len(entries), 5, np.uint64) if collide else ids_of(entries)
    made = combined(entries, ids)
    assert summed(made) == summed(entries)
    assert len(made) == len(summed(entries))
    number = dict(zip(map(tuple, entries[:, :4].tolist()), ids.tolist(), strict=True))
    keys = [(number[tuple(row[:4])], *row[:5]) for row in made.tolist()]
    assert keys == sorted(keys)


def test_positions_whose_hashes_collide_stay_apart() -> None:
    entries = entries_of([(1, 0, 3, 2), (2, 0, 3, 4), (1, 0, 3, 5), (1, 0, 2, 1)])
    block = grouped(combined(entries, np.zeros(4, dtype=np.uint64))).block
    assert block.codes.view("<u8")[:, 0].tolist() == [1, 2]
    assert block.offsets.tolist() == [0, 2, 3]
    assert block.labels.tolist() == [2, 3, 3]
    assert block.counts.tolist() == [1, 7, 4]
    assert block.wins.tolist() == [1, 7, 4]


def test_sums_that_do_not_fit_are_an_error() -> None:
    half = (1 << 30) * ONE
    entries = np.zeros((3, 6), dtype=np.uint64)
    entries[:, 5] = half
    with pytest.raises(DataError, match="more than 2,147,483,647 times"):
        combined(entries, ids_of(entries))
    entries[:, 4] = [1, 2, 3]  # each move fits, their sum does not
    with pytest.raises(DataError, match="more than 2,147,483,647 times"):
        grouped(combined(entries, ids_of(entries)))


def test_rows_become_entries(selfplay_rows: Rows) -> None:
    rows = selfplay_rows[:2000]
    entries, ids = enter_rows(rows)
    assert (entries[:, 5] >> np.uint64(32) == 1).all()
    turn, result = rows[:, 0] & 1, rows[:, 36] & 3
    wins = np.where(result == 0, 1, 2 * (result == turn + 1))
    assert (entries[:, 5] & np.uint64(0xFFFFFFFF)).tolist() == wins.tolist()
    assert ids.tolist() == ids_of(entries).tolist()
    bad = rows.copy()
    bad[77, 36] = 3
    with pytest.raises(ValueError, match="gameResult") as error:
        enter_rows(bad)
    assert error.value.args[0] == 77


@pytest.fixture
def runs(selfplay_rows: Rows, tmp_path: Path) -> list[tuple[Run, bool]]:
    """Three runs of real rows, every third row to validate, and one to exclude."""
    made = []
    for number, start in enumerate((0, 3000, 5000)):
        entries, ids = enter_rows(selfplay_rows[start : start + 4000])
        held = np.arange(len(entries)) % 3 == 0
        sides = [combined(entries[side], ids[side]) for side in (~held, held)]
        write_run(tmp_path / f"{number}", sides, cell_bits=6)
        made.append((Run(tmp_path / f"{number}"), False))
    entries, ids = enter_excluded(selfplay_rows[2000:2100])
    write_run(tmp_path / "x", [combined(entries, ids), entries[:0]], cell_bits=6)
    return [*made, (Run(tmp_path / "x"), True)]


@pytest.mark.parametrize("most", [1, 300, 10**6])
def test_merged_ranges_are_all_of_it_whatever_their_size(
    runs: list[tuple[Run, bool]], selfplay_rows: Rows, most: int
) -> None:
    plan = plan_merges(runs, 64, most)
    assert len(plan) == {1: 128, 10**6: 2}.get(most, len(plan))
    excluded = summed(combined(*enter_excluded(selfplay_rows[2000:2100])))
    gone = {key[:4] for key in excluded}
    for side in (0, 1):
        wanted: dict[tuple[int, ...], int] = {}
        for start in (0, 3000, 5000):
            entries, _ = enter_rows(selfplay_rows[start : start + 4000])
            held = np.arange(len(entries)) % 3 == 0
            for key, sums in summed(entries[held if side else ~held]).items():
                wanted[key] = wanted.get(key, 0) + sums
        left_out = {key: sums for key, sums in wanted.items() if key[:4] in gone}
        found: dict[tuple[int, ...], int] = {}
        positions = rows = 0
        for merge in (merge for merge in plan if merge.side == side):
            made = merge_sides(runs, merge)
            positions += made.excluded_positions
            rows += made.excluded_rows
            found |= as_sums(made.block)
        assert found == {k: v for k, v in wanted.items() if k not in left_out}
        assert positions == len({key[:4] for key in left_out})
        assert rows == sum(sums >> 32 for sums in left_out.values())


def merge_sides(runs: list[tuple[Run, bool]], merge: Merge) -> Any:
    sides = [(run, 0 if excluded else merge.side) for run, excluded in runs]
    return merge_runs(sides, (merge.first, merge.last), merge.entries)


def as_sums(block: Any) -> dict[tuple[int, ...], int]:
    words = np.repeat(block.codes.view("<u8"), np.diff(block.offsets), axis=0)
    listed = zip(
        words.tolist(),
        block.labels.tolist(),
        block.counts.tolist(),
        block.wins.tolist(),
        strict=True,
    )
    return {(*code, label): (n << 32) + wins for code, label, n, wins in listed}


def test_damaged_runs_are_refused(runs: list[tuple[Run, bool]], tmp_path: Path) -> None:
    path = runs[0][0].path
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole + b"\0", whole[:20], b"", b"\1" + whole[1:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged; remove the output folder"):
            Run(path)
    with pytest.raises(DataError, match="No such file"):
        Run(tmp_path / "missing")


def test_ranges_are_read_as_one(selfplay_rows: Rows, tmp_path: Path) -> None:
    block = made_block(selfplay_rows[:1500])
    cuts = [0, 1, 500, 501, len(block.codes)]
    for start, stop in itertools.pairwise(cuts):
        piece = part_of(block, start, stop)
        write_preprocess_shard(
            tmp_path / f"{start:04}.npy",
            lambda a, b, piece=piece: part_of(piece, a, b),
            len(piece.codes),
            len(piece.labels),
            packed=True,
        )
    ranges = Ranges(sorted(tmp_path.iterdir()))
    for start, stop in (
        (0, 1),
        (0, len(block.codes)),
        (1, 501),
        (499, 502),
        (700, 900),
    ):
        wanted = part_of(block, start, stop)
        for found, column in zip(ranges.read(start, stop), wanted, strict=True):
            assert found.tolist() == column.tolist()
        assert ranges.moves(start, stop) == len(wanted.labels)
