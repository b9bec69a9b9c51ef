"""Damaged raw `.hcpe` files, and what is no file at all."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maou.data.kinds import HCPE_ROWS
from maou.errors import DataError
from maou.records.containers import HCPE_CONTAINERS, open_hcpe_shard
from maou.shogi.samples import SAMPLE_STATUS_TEXT, decode_samples

Rows = npt.NDArray[np.uint8]


def test_cut_at_every_byte(selfplay_rows: Rows, tmp_path: Path) -> None:
    """A cut between records cannot be seen: the format has no header."""
    path = tmp_path / "cut.hcpe"
    whole = selfplay_rows[:6].tobytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if length and length % 38 == 0:
            assert open_hcpe_shard(path).rows == length // 38
            continue
        with pytest.raises(DataError) as caught:
            open_hcpe_shard(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        expected = f"row {length // 38} is cut" if length else "holds no records"
        assert expected in message


@given(st.lists(st.binary(min_size=38, max_size=38), min_size=1, max_size=40))
def test_noise_is_decoded_or_named(noise: list[bytes]) -> None:
    rows = np.frombuffer(b"".join(noise), dtype=np.uint8).reshape(-1, 38)
    samples = decode_samples(rows)
    good = samples.status_B == 0
    assert (samples.board_BS[good] <= 28).all()
    assert ((samples.label_B[good] >= 0) & (samples.label_B[good] < 1496)).all()
    assert np.isin(samples.value_B, (0.0, 0.5, 1.0)).all()
    assert set(samples.status_B[~good].tolist()) <= set(SAMPLE_STATUS_TEXT)
    if not good.all():
        first = int(np.flatnonzero(~good)[0])
        index = np.arange(len(rows), dtype=np.int64)
        with pytest.raises(DataError, match=f"^shard: row {first}: "):
            HCPE_ROWS.encode(rows, index, lambda at: f"shard: row {at}")


@given(
    bits=st.lists(st.integers(0, 38 * 8 - 1), min_size=1, max_size=3),
    number=st.integers(0, 55_436),
)
def test_flipped_bits_of_real_rows_are_decoded_or_named(
    bits: list[int], number: int, selfplay_rows: Rows
) -> None:
    row = selfplay_rows[number].copy()
    for bit in bits:
        row[bit // 8] ^= np.uint8(1 << bit % 8)
    samples = decode_samples(row[None])
    if samples.status_B[0] == 0:
        assert samples.board_BS.max() <= 28
        assert sorted(np.flatnonzero(np.isin(samples.board_BS[0], (8, 22))).shape) == [
            2
        ]
        assert 0 <= samples.label_B[0] < 1496


@pytest.mark.parametrize("suffix", HCPE_CONTAINERS)
def test_what_is_no_file_is_refused(suffix: str, tmp_path: Path) -> None:
    missing = tmp_path / f"missing{suffix}"
    with pytest.raises(DataError, match=r"missing.*No such file"):
        open_hcpe_shard(missing)
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    with pytest.raises(DataError, match=r"folder.*is a folder, not a shard"):
        open_hcpe_shard(folder)
    empty = tmp_path / f"empty{suffix}"
    empty.touch()
    with pytest.raises(DataError, match="empty"):
        open_hcpe_shard(empty)
    below = empty / f"below{suffix}"
    with pytest.raises(DataError, match="Not a directory"):
        open_hcpe_shard(below)
    loop = tmp_path / f"loop{suffix}"
    loop.symlink_to(loop)
    with pytest.raises(DataError, match="symbolic links"):
        open_hcpe_shard(loop)
    long = tmp_path / f"{'x' * 300}{suffix}"
    with pytest.raises(DataError, match="too long"):
        open_hcpe_shard(long)


def test_a_file_cut_after_it_was_opened(selfplay_rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "shrinks.hcpe"
    path.write_bytes(selfplay_rows[:100].tobytes())
    shard = open_hcpe_shard(path)
    path.write_bytes(selfplay_rows[:50].tobytes())
    assert shard.read(0, 50).shape == (50, 38)
    with pytest.raises(DataError, match="ends at byte 1900"):
        shard.read(40, 60)
