"""Damaged packed sfen values, and what is something else."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from game_shards import psv_of
from maou.checking.run import quick_check
from maou.cli.main import run
from maou.errors import DataError
from maou.records.containers import open_hcpe_shard
from maou.records.psv import PsvShard
from maou.shogi.hcp import BAD_CODE, BAD_COUNT, BAD_KING, STATUS_TEXT, decode_hcp
from maou.shogi.packed_sfen import OTHER_MOVE, hcp_of_packed_sfen
from maou.shogi.samples import SAMPLE_STATUS_TEXT, decode_samples
from maou.sources.local import open_local_shards

Rows = npt.NDArray[np.uint8]


@pytest.mark.parametrize("suffix", [".psv", ".bin"])
def test_cut_at_every_byte(suffix: str, selfplay_rows: Rows, tmp_path: Path) -> None:
    """A cut between values cannot be seen: the format has no header."""
    path = tmp_path / f"cut{suffix}"
    whole = psv_of(selfplay_rows[:6]).tobytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        if length and length % 40 == 0:
            assert open_hcpe_shard(path).rows == length // 40
            continue
        with pytest.raises(DataError) as caught:
            open_hcpe_shard(path)
        expected = f"row {length // 40} is cut" if length else "holds no records"
        assert str(caught.value).startswith(f"{path}: ")
        assert expected in str(caught.value)


def test_flipped_bits_are_rows_or_named_damage(
    selfplay_rows: Rows, tmp_path: Path
) -> None:
    random = np.random.default_rng(11)
    values = psv_of(selfplay_rows[:2000]).view(np.uint8).reshape(-1, 40).copy()
    for value in values:
        for bit in random.integers(0, 320, random.integers(1, 4)):
            value[bit // 8] ^= 1 << bit % 8
    path = tmp_path / "flipped.psv"
    path.write_bytes(values.tobytes())
    samples = decode_samples(PsvShard(path).read(0, 2000))
    bad = samples.status_B != 0
    assert 500 < bad.sum() < 2000
    assert set(samples.status_B[bad].tolist()) <= set(SAMPLE_STATUS_TEXT)
    assert samples.board_BS[~bad].max() <= 28
    assert (samples.label_B[~bad] >= 0).all()
    assert quick_check([PsvShard(path)])


def test_noise_keeps_its_reason(tmp_path: Path) -> None:
    """The damaged hcp that stands for a damaged packed sfen has the same status."""
    noise = np.random.default_rng(2).integers(0, 256, (5000, 40), dtype=np.uint8)
    noise[:, :2] = [0b10, 0]  # kings on squares 1 and 0
    noise[:100, :2] = 0
    noise[100:200, 2:] = 0
    row = np.empty(38, dtype=np.uint8)
    seen = {hcp_of_packed_sfen(one, row) for one in noise}
    assert seen == {BAD_KING, BAD_CODE, BAD_COUNT}
    path = tmp_path / "noise.psv"
    path.write_bytes(noise.tobytes())
    statuses = decode_hcp(PsvShard(path).read(0, 5000))[2]
    expected = [hcp_of_packed_sfen(one, row) for one in noise]
    assert statuses.tolist() == expected


def test_results_that_are_none(selfplay_rows: Rows, tmp_path: Path) -> None:
    values = psv_of(selfplay_rows[:256])
    values["game_result"] = np.arange(256).astype(np.int8)
    path = tmp_path / "results.psv"
    values.tofile(path)
    results = PsvShard(path).read(0, 256)[:, 36]
    turns = selfplay_rows[:256, 0] & 1
    assert results[0] == 0
    assert results[1] == 1 + turns[1]
    assert results[255] == 2 - turns[255]
    assert (results[2:255] == 3).all()


def test_moves_of_another_coding_are_said(
    selfplay_rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that holds move16 where YaneuraOu's moves belong."""
    values = psv_of(selfplay_rows[:3000])
    values["move"] = selfplay_rows[:3000].copy().view("<u2").reshape(-1, 19)[:, 17]
    path = tmp_path / "other.psv"
    values.tofile(path)
    (warning,) = quick_check(open_local_shards(path).shards)
    assert "illegal best moves" in warning
    assert "may hold dlshogi's move16 or another coding" in warning
    assert "other.psv: row" in warning
    moves = PsvShard(path).read(0, 3000).view("<u2").reshape(-1, 19)[:, 17]
    assert 0.01 < np.mean(moves == OTHER_MOVE) < 0.5
    assert run(["utility", "check-data", str(path)]) == 1
    assert "not coded as YaneuraOu packs a move" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["zeros", "noise", "raw"])
def test_a_bin_file_of_something_else_is_refused(
    content: str, selfplay_rows: Rows, tmp_path: Path
) -> None:
    """A network's weights, say; also hcpe records, 38 * 20 = 40 * 19 bytes."""
    path = tmp_path / "model.bin"
    noise = np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8)
    data = {"zeros": bytes(4000), "noise": noise, "raw": selfplay_rows[:20]}[content]
    path.write_bytes(bytes(data))
    with pytest.raises(DataError) as caught:
        open_hcpe_shard(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: does not begin with packed sfen values (row ")
    assert any(text in message for text in STATUS_TEXT.values())
    assert run(["learn-model", "--input-path", str(tmp_path), "--epoch", "1"]) == 2
    renamed = path.rename(tmp_path / "model.psv")
    assert decode_samples(open_hcpe_shard(renamed).read(0, 19)).status_B.any()


def test_a_file_cut_after_it_was_opened(selfplay_rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "shrinks.psv"
    whole = psv_of(selfplay_rows[:100]).tobytes()
    path.write_bytes(whole)
    shard = open_hcpe_shard(path)
    path.write_bytes(whole[:2000])
    assert shard.read(0, 50).shape == (50, 38)
    with pytest.raises(DataError, match="ends at byte 2000"):
        shard.read(40, 60)
