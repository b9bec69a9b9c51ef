"""Positions spilled to disk: rows to sorted runs, and runs to groups.

An entry is one (position, move) with its sums, six uint64: the four words of the
position code, the label, and count << 32 | wins (half points). A run is a file of
entries for training and for validation, each sorted by the position's id and with an
index by the id's first bits, the cell, so that any range of cells can be read from all
runs. Sums are whole numbers: the order in which entries are added up does not matter.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maou.errors import DataError
from maou.files import atomic_write
from maou.records.preprocess import MAX_COUNT, PackedBlock, position_id
from maou.records.shards import Rows
from maou.shogi.compiled import kernel
from maou.shogi.hcp import HCP_BYTES, STATUS_TEXT, decode_hcp, encode_row
from maou.shogi.samples import SAMPLE_STATUS_TEXT, decode_samples

Entries = npt.NDArray[np.uint64]
"""Entries, uint64 [n, 6]."""

Ids = npt.NDArray[np.uint64]

WORDS = 6
ENTRY_BYTES = 8 * WORDS

_ANEW = "remove the output folder to begin anew"

_EXCLUDED = 1 << 15  # stands for a label: the position is to be left out
_MAGIC = 0x31_6E75_7275_6F61_6D  # "maourun1"
_HEADER = np.dtype([("magic", "<u8"), ("cells", "<u8"), ("entries", "<u8", (2,))])


@kernel
def _enter(
    board_BS: npt.NDArray[np.uint8],
    hand_BH: npt.NDArray[np.uint8],
    label_B: npt.NDArray[np.int16],
    wins_B: npt.NDArray[np.uint8],
    entries: Entries,
    ids: Ids,
) -> None:
    code = np.empty(HCP_BYTES, dtype=np.uint8)
    words = code.view(np.uint64)
    for i in range(len(entries)):
        encode_row(board_BS[i], hand_BH[i], code)
        for w in range(4):
            entries[i, w] = words[w]
        entries[i, 4] = np.uint64(label_B[i])
        entries[i, 5] = np.uint64(1) << np.uint64(32) | np.uint64(wins_B[i])
        ids[i] = position_id(words)


def enter_rows(rows: Rows) -> tuple[Entries, Ids]:
    """Make one entry a row, and its id.

    Args:
        rows: raw hcpe records, uint8 [n, 38].

    Raises:
        ValueError: a row is bad; the arguments are its number and why.
    """
    samples = decode_samples(rows)
    _require_valid(samples.status_B, SAMPLE_STATUS_TEXT)
    entries = np.empty((len(rows), WORDS), dtype=np.uint64)
    ids = np.empty(len(rows), dtype=np.uint64)
    wins = (samples.value_B * 2).astype(np.uint8)
    _enter(samples.board_BS, samples.hand_BH, samples.label_B, wins, entries, ids)
    return entries, ids


def enter_excluded(codes: npt.NDArray[np.uint8]) -> tuple[Entries, Ids]:
    """Make one entry a position that is to be left out, and its id.

    Args:
        codes: position codes, uint8 [n, 32 or more].

    Raises:
        ValueError: a code is bad; the arguments are its number and why.
    """
    board_BS, hand_BH, status_B = decode_hcp(codes)
    _require_valid(status_B, STATUS_TEXT)
    entries = np.empty((len(codes), WORDS), dtype=np.uint64)
    ids = np.empty(len(codes), dtype=np.uint64)
    nothing = np.zeros(len(codes), dtype=np.uint8)
    _enter(board_BS, hand_BH, nothing.astype(np.int16), nothing, entries, ids)
    entries[:, 4], entries[:, 5] = _EXCLUDED, 0
    return entries, ids


def _require_valid(status_B: npt.NDArray[np.uint8], texts: dict[int, str]) -> None:
    bad = np.flatnonzero(status_B)
    if len(bad):
        raise ValueError(int(bad[0]), texts[int(status_B[bad[0]])])


@kernel
def _compare(left: Entries, right: Entries) -> int:
    for w in range(5):
        if left[w] < right[w]:
            return -1
        if left[w] > right[w]:
            return 1
    return 0


@kernel
def _combine(
    entries: Entries, ids: Ids, order: npt.NDArray[np.int64], out: Entries
) -> int:
    """Add up equal entries; return how many are left, or -1 if a sum is too large.

    `order` sorts the ids. Entries of one id are few once they are added up, so they
    are kept sorted by inserting each where it belongs.
    """
    made = 0
    i = 0
    while i < len(order):
        first = made
        current = ids[order[i]]
        while i < len(order) and ids[order[i]] == current:
            entry = entries[order[i]]
            i += 1
            at = made
            relation = 1
            while at > first:
                relation = _compare(entry, out[at - 1])
                if relation >= 0:
                    break
                at -= 1
            if at > first and relation == 0:
                total = out[at - 1, 5] + entry[5]
                if total >> np.uint64(32) > MAX_COUNT:
                    return -1
                out[at - 1, 5] = total
                continue
            for k in range(made, at, -1):
                out[k] = out[k - 1]
            out[at] = entry
            made += 1
    return made


def combined(entries: Entries, ids: Ids) -> Entries:
    """Sort entries by (id, code, label) and add up equal ones.

    Raises:
        DataError: a move was played more than 2^31 - 1 times in one position.
    """
    out = np.empty_like(entries)
    made = _combine(entries, ids, np.argsort(ids), out)
    if made < 0:
        raise DataError(TOO_MANY)
    return out[:made]


TOO_MANY = (
    f"one position occurs more than {MAX_COUNT:,} times in the input, too often for "
    "the counts of a preprocess record; give fewer games"
)


@kernel
def _entry_ids(entries: Entries, ids: Ids) -> None:
    for i in range(len(ids)):
        ids[i] = position_id(entries[i])


def ids_of(entries: Entries) -> Ids:
    """Hash the positions of entries, uint64 [n]."""
    ids = np.empty(len(entries), dtype=np.uint64)
    _entry_ids(entries, ids)
    return ids


class Grouped(NamedTuple):
    """Positions with their moves, and what was left out of them."""

    block: PackedBlock
    excluded_positions: int
    excluded_rows: int


@kernel
def _group(
    out: Entries,
    words: npt.NDArray[np.uint64],
    offsets: npt.NDArray[np.int64],
    label: npt.NDArray[np.uint16],
    sums: npt.NDArray[np.uint32],
    left_out: npt.NDArray[np.int64],
) -> int:
    """Group entries by position; return the positions, or -1 if a sum is too large."""
    positions = moves = i = 0
    offsets[0] = 0
    while i < len(out):
        begin = i
        total = np.uint64(0)
        while i < len(out):
            same = True
            for w in range(4):
                same = same and out[i, w] == out[begin, w]
            if not same:
                break
            total += out[i, 5] >> np.uint64(32)
            i += 1
        if total > MAX_COUNT:
            return -1
        if out[i - 1, 4] == _EXCLUDED:  # the largest label
            if total:
                left_out[0] += 1
                left_out[1] += np.int64(total)
            continue
        for w in range(4):
            words[positions, w] = out[begin, w]
        for k in range(begin, i):
            label[moves] = out[k, 4]
            sums[moves, 0] = out[k, 5] >> np.uint64(32)
            sums[moves, 1] = out[k, 5] & np.uint64(0xFFFFFFFF)
            moves += 1
        positions += 1
        offsets[positions] = moves
    return positions


def grouped(entries: Entries) -> Grouped:
    """Turn combined entries into positions, without those to be left out.

    Raises:
        DataError: a position occurs more than 2^31 - 1 times.
    """
    count = len(entries)
    words = np.empty((count, 4), dtype=np.uint64)
    offsets = np.empty(count + 1, dtype=np.int64)
    label = np.empty(count, dtype=np.uint16)
    sums = np.empty((count, 2), dtype=np.uint32)
    left_out = np.zeros(2, dtype=np.int64)
    positions = _group(entries, words, offsets, label, sums, left_out)
    if positions < 0:
        raise DataError(TOO_MANY)
    moves = int(offsets[positions])
    block = PackedBlock(
        words[:positions].view(np.uint8),
        offsets[: positions + 1],
        label[:moves],
        sums[:moves, 0],
        sums[:moves, 1],
    )
    return Grouped(block, int(left_out[0]), int(left_out[1]))


def write_run(path: Path, sides: Sequence[Entries], cell_bits: int) -> None:
    """Write combined entries of both sides as one run, all of it or nothing."""
    cells = 1 << cell_bits
    header = np.zeros((), dtype=_HEADER)
    header["magic"], header["cells"] = _MAGIC, cells
    header["entries"] = [len(entries) for entries in sides]
    shift = np.uint64(64 - cell_bits)
    bounds = np.arange(cells + 1, dtype=np.uint64)
    with atomic_write(path) as stream:
        stream.write(header.tobytes())
        for entries in sides:
            index = np.searchsorted(ids_of(entries) >> shift, bounds)
            stream.write(index.astype("<u4").tobytes())
        for entries in sides:
            stream.write(entries.tobytes())


class Run:
    """A run on disk. Nothing of it is held."""

    def __init__(self, path: Path) -> None:
        """Check the header.

        Raises:
            DataError: the file is not a whole run.
        """
        self.path = path
        try:
            with path.open("rb") as stream:
                data = stream.read(_HEADER.itemsize)
                size = os.fstat(stream.fileno()).st_size
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; {_ANEW}") from error
        if len(data) == _HEADER.itemsize:
            header = np.frombuffer(data, dtype=_HEADER)[0]
            self.cells = int(header["cells"])
            self.entries = [int(count) for count in header["entries"]]
            self._index_at = _HEADER.itemsize
            self._data_at = self._index_at + 8 * (self.cells + 1)
            expected = self._data_at + ENTRY_BYTES * sum(self.entries)
            if header["magic"] == _MAGIC and size == expected:
                return
        raise DataError(f"{path}: damaged; {_ANEW}")

    def index(self, side: int) -> npt.NDArray[np.uint32]:
        """Read where each cell of a side begins, uint32 [cells + 1]."""
        at = self._index_at + 4 * side * (self.cells + 1)
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(at)
            return np.frombuffer(stream.read(4 * (self.cells + 1)), dtype="<u4")

    def read_into(self, side: int, cells: tuple[int, int], out: Entries) -> int:
        """Read the entries of cells [first, last) to the head of `out`; count them."""
        low, high = cells
        with self.path.open("rb", buffering=0) as stream:
            bounds = []
            for cell in (low, high):
                stream.seek(self._index_at + 4 * (side * (self.cells + 1) + cell))
                bounds.append(int.from_bytes(stream.read(4), "little"))
            count = bounds[1] - bounds[0]
            if not 0 <= count <= len(out):
                raise DataError(f"{self.path}: damaged; {_ANEW}")
            if not count:
                return 0
            first = bounds[0] + side * self.entries[0]
            stream.seek(self._data_at + ENTRY_BYTES * first)
            view = memoryview(out[:count]).cast("B")  # type: ignore[arg-type]
            done = 0
            while done < len(view):
                got = stream.readinto(view[done:])
                if not got:
                    raise DataError(f"{self.path}: ends early; {_ANEW}")
                done += got
        return count


MERGE_BYTES = 120
"""Memory that merging takes for each entry, at most."""


def merge_runs(
    runs: Iterable[tuple[Run, int]], cells: tuple[int, int], most: int
) -> Grouped:
    """Add up the entries of a range of cells from all runs.

    Args:
        runs: runs and the side of each to take.
        cells: first cell and the one after the last.
        most: how many entries there are in all.
    """
    return grouped(_merged(runs, cells, most))


def _merged(
    runs: Iterable[tuple[Run, int]], cells: tuple[int, int], most: int
) -> Entries:
    entries = np.empty((most, WORDS), dtype=np.uint64)
    count = 0
    for run, side in runs:
        count += run.read_into(side, cells, entries[count:])
    if count != most:
        raise DataError(f"the spilled files do not agree; {_ANEW}")
    return combined(entries, ids_of(entries))
