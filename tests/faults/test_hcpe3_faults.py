"""Damaged hcpe3 files: only `DataError` comes out, whatever the counts claim."""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from game_shards import Game, expected_rows, hcpe3_bytes, random_games
from maou.checking.run import quick_check
from maou.cli.main import run
from maou.errors import DataError
from maou.records.containers import open_hcpe_shard
from maou.shogi.samples import SAMPLE_STATUS_TEXT, decode_samples
from maou.sources.local import open_local_shards

START = random_games(1, 0, 0)[0].start
GOOD = 59 | 60 << 7  # 7g7f
SEEN = ((GOOD, 10),)


def message_of(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        open_hcpe_shard(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_cut_at_every_byte(tmp_path: Path) -> None:
    """A cut between games cannot be seen: a file has no header."""
    path = tmp_path / "cut.hcpe3"
    games = random_games(3, 12, 4)
    ends = [len(hcpe3_bytes(games[:count])) for count in range(4)]
    whole = hcpe3_bytes(games)
    for length in range(len(whole)):
        if length in ends[1:]:
            path.write_bytes(whole[:length])
            rows, _ = expected_rows(games[: ends.index(length)])
            assert (open_hcpe_shard(path).read(0, len(rows)) == rows).all()
            continue
        message = message_of(path, whole[:length])
        if length:
            game = max(number for number in range(4) if ends[number] <= length)
            assert f"game {game} at byte {ends[game]}: the file ends" in message
        else:
            assert "holds no records" in message


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits(seed: int, tmp_path: Path) -> None:
    """Damage is refused, or gives rows that are samples or are named."""
    path = tmp_path / "flipped.hcpe3"
    whole = np.frombuffer(hcpe3_bytes(random_games(3, 40, seed)), dtype=np.uint8)
    random = np.random.default_rng(seed)
    refused = read = 0
    for _ in range(150):
        data = whole.copy()
        for bit in random.integers(0, 8 * len(data), random.integers(1, 4)):
            data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data.tobytes())
        try:
            shard = open_hcpe_shard(path)
            rows = shard.read(0, shard.rows)
        except DataError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
            assert "game" in str(error)  # noqa: PT017
            refused += 1
            continue
        assert len(shard.game_keys(0, shard.rows)) == len(rows)
        statuses = set(decode_samples(rows).status_B.tolist())
        assert statuses - {0} <= set(SAMPLE_STATUS_TEXT)
        read += 1
    assert refused > 10
    assert read > 10


@pytest.mark.parametrize("seed", range(4))
def test_noise(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    path = tmp_path / "noise.hcpe3"
    start = b"" if seed % 2 else START
    for length in (1, 35, 36, 37, 500, 70000):
        noise = random.integers(0, 256, length, dtype=np.uint8).tobytes()
        assert "game 0 at byte 0: " in message_of(path, start + noise)


@pytest.mark.parametrize(
    ("result", "text"), [(3, "the result is not"), (32, "the result"), (128, "result")]
)
def test_results_that_are_none(result: int, text: str, tmp_path: Path) -> None:
    good = Game(START, 0, [(GOOD, 0, SEEN)])
    data = hcpe3_bytes([good, good._replace(result=result)])
    message = message_of(tmp_path / "a.hcpe3", data)
    assert f"game 1 at byte {36 + 6 + 4}: " in message
    assert text in message


def test_counts_that_claim_much_take_no_memory(tmp_path: Path) -> None:
    """65,535 moves of 65,535 candidates would be 17 GB."""
    path = tmp_path / "claims.hcpe3"
    head = START + struct.pack("<HBB", 65535, 1, 0)
    many = struct.pack("<HhH", GOOD, 0, 65535)
    few = struct.pack("<HhH", GOOD, 0, 593)
    open_hcpe_shard_of_a_good_file(tmp_path)  # loads the kernels
    tracemalloc.start()
    assert "the file ends" in message_of(path, head + many)
    assert "the file ends" in message_of(path, head + few + bytes(2000))
    assert "593 candidates" in message_of(path, head + many + bytes(400_000))
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def open_hcpe_shard_of_a_good_file(folder: Path) -> None:
    path = folder / "good.hcpe3"
    path.write_bytes(hcpe3_bytes(random_games(1, 3, 0)) * 2)
    assert open_hcpe_shard(path).rows


UNPLAYABLE = {
    "no piece": 40 | 41 << 7,
    "the opponent's piece": 3 | 2 << 7,
    "an own piece taken": 62 | 71 << 7,
    "off the board": 90 | 60 << 7,
    "a drop of what is not in hand": 40 | 81 << 7,
    "a drop of no piece": 40 | 100 << 7,
    "no move": 0,
    "a gold promotes": 50 | 49 << 7 | 1 << 14,
    "bit 15": GOOD | 1 << 15,
}


@pytest.mark.parametrize("name", UNPLAYABLE)
def test_a_move_that_cannot_be_made(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused where moves follow; as the last move it is an illegal row."""
    path = tmp_path / "moves.hcpe3"
    first = Game(START, 1, [(GOOD, 5, SEEN)])
    last = [(UNPLAYABLE[name], 0, SEEN)]
    path.write_bytes(hcpe3_bytes([first, Game(START, 1, last)]))
    shard = open_hcpe_shard(path)
    assert shard.read(0, 2).shape == (2, 38)
    assert run(["utility", "check-data", str(path)]) == 1
    assert "illegal best moves" in capsys.readouterr().out

    path.write_bytes(hcpe3_bytes([first, Game(START, 1, [*last, (GOOD, 0, SEEN)])]))
    shard = open_hcpe_shard(path)
    assert shard.read(0, 2).shape == (2, 38)
    said = "game 1 at byte 46: move 1 cannot be made in its position"
    with pytest.raises(DataError, match=said):
        shard.read(0, 3)
    assert run(["utility", "check-data", str(path)]) == 1
    assert "rows that cannot be read" in capsys.readouterr().out
    assert quick_check(open_local_shards(path).shards)


def test_a_move_the_wrong_way_is_an_illegal_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A position with all pieces follows, so the game can be read."""
    path = tmp_path / "ways.hcpe3"
    wrong = 40 | 60 << 7
    moves = [(wrong, 0, SEEN), (20 | 21 << 7, 0, SEEN), (GOOD, 0, SEEN)]
    path.write_bytes(hcpe3_bytes([Game(START, 1, moves[:2])]))
    assert open_hcpe_shard(path).read(0, 2).shape == (2, 38)
    assert run(["utility", "check-data", str(path)]) == 1
    assert "the piece does not move so" in capsys.readouterr().out


def test_games_without_rows_hold_no_records(tmp_path: Path) -> None:
    path = tmp_path / "none.hcpe3"
    data = hcpe3_bytes([Game(START, 0, []), Game(START, 0, [(GOOD, 0, ())])])
    assert "holds no records" in message_of(path, data)


def test_a_file_that_changes_after_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "changes.hcpe3"
    whole = hcpe3_bytes(random_games(6, 30, 9))
    path.write_bytes(whole)
    shard = open_hcpe_shard(path)
    path.write_bytes(whole[:500])
    with pytest.raises(DataError, match="cut after it was opened"):
        shard.read(0, shard.rows)
    random = np.random.default_rng(1)
    for _ in range(100):
        data = np.frombuffer(whole, dtype=np.uint8).copy()
        data[random.integers(0, len(data), 40)] = random.integers(0, 256, 40)
        path.write_bytes(data.tobytes())
        try:
            assert shard.read(0, shard.rows).shape == (shard.rows, 38)
        except DataError as error:
            assert "game" in str(error)  # noqa: PT017
