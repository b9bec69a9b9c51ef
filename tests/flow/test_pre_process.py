"""`maou pre-process` as a user runs it, on real positions."""

import itertools
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from maou.cli.main import run
from maou.records.containers import open_hcpe_shard
from maou.records.preprocess_containers import kind_of_file, open_preprocess_shard
from maou.records.preprocess_npy import PackedNpy
from maou.records.split import split_by_game
from maou.shogi.hcp import decode_hcp, encode_hcp
from shard_files import CONTAINERS

Rows = npt.NDArray[np.uint8]
ROWS = 12_000


@pytest.fixture(scope="module")
def rows(selfplay_rows: Rows) -> Rows:
    return selfplay_rows[:ROWS]


@pytest.fixture(scope="module")
def ids(selfplay_games: npt.NDArray[np.int64]) -> list[str]:
    """The ids of those rows: game and ply."""
    return [
        f"selfplay.csa:{game}_{ply}"
        for game, length in enumerate(selfplay_games.tolist())
        for ply in range(length)
    ][:ROWS]


def process(source: Path, out: Path, *flags: str) -> int:
    """Run the command in this process and return its exit code."""
    base = ["pre-process", "--input-path", str(source), "--output-dir", str(out)]
    return run([*base, *flags])


def contents(folder: Path) -> dict[str, bytes]:
    """What a run leaves, less what names its input."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "pre-process.json"
    }


def write(folder: Path, name: str, rows: Rows, ids: list[str], pieces: int = 1) -> Path:
    container = CONTAINERS[name]
    folder.mkdir()
    cuts = [len(rows) * i // pieces for i in range(pieces + 1)]
    for i, (start, stop) in enumerate(itertools.pairwise(cuts)):
        path = folder / f"{i}{container.suffix}"
        part = slice(start, stop)
        container.write(path, rows[part], ids[part], (7, 100, 100))
    return folder


def codes_of(rows: Rows) -> set[bytes]:
    codes, _ = encode_hcp(*decode_hcp(rows)[:2])
    return {code.tobytes() for code in codes}


def side_codes(out: Path, side: str) -> set[bytes]:
    found: set[bytes] = set()
    for path in (out / side).glob("preprocess-*"):
        shard = open_preprocess_shard(path, kind_of_file(path) == "packed")
        made = {code.tobytes() for code in shard.codes(0, shard.rows)}
        assert len(made) == shard.rows
        assert not found & made
        found |= made
    return found


@pytest.fixture(scope="module")
def reference(
    rows: Rows, ids: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The output for rows with ids, in one thread."""
    folder = tmp_path_factory.mktemp("reference")
    source = write(folder / "in", "npy bytes ids", rows, ids)
    assert process(source, folder / "out", "--workers", "1", *SHARDS) == 0
    return contents(folder / "out")


SHARDS = ("--shard-rows", "4000")


@pytest.mark.parametrize("name", list(CONTAINERS))
def test_every_container_gives_the_same_bytes(
    rows: Rows, ids: list[str], reference: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    source = write(tmp_path / "in", name, rows, ids)
    assert process(source, tmp_path / "out", *SHARDS) == 0
    made = contents(tmp_path / "out")
    assert sorted(made) == sorted(reference)
    # Without ids the games are recovered from the rows: the same games here, but
    # other hashes, so another split.
    assert (made == reference) == CONTAINERS[name].has_ids
    assert len(made) == 4, "three shards to train, one to validate"


def test_order_threads_and_memory_do_not_matter(
    rows: Rows, ids: list[str], reference: dict[str, bytes], tmp_path: Path
) -> None:
    order = np.random.default_rng(3).permutation(len(rows))
    mixed = [ids[i] for i in order]
    source = write(tmp_path / "in", "feather binary", rows[order], mixed, pieces=5)
    plans = [("1", "2GB"), ("2", "2GB"), ("3", "1500MB")]
    for number, (workers, limit) in enumerate(plans):
        out = tmp_path / str(number)
        flags = ["--workers", workers, "--memory-limit", limit, *SHARDS]
        assert process(source, out, *flags) == 0
        assert contents(out) == reference


_MANY_MERGES = """
import sys
from maou.cli.main import run
from maou.convert import engine_threads

engine_threads.MERGE_BYTES = 200_000  # as if an entry took so much: many small merges
sys.exit(run(sys.argv[1:]))
"""


def test_many_small_merges_give_the_same_bytes(
    rows: Rows, ids: list[str], reference: dict[str, bytes], tmp_path: Path
) -> None:
    source = write(tmp_path / "in", "npy bytes ids", rows, ids, pieces=3)
    flags = ["--input-path", source, "--output-dir", tmp_path / "out", *SHARDS]
    command = [sys.executable, "-c", _MANY_MERGES, "pre-process", *flags]
    subprocess.run([*command, "--memory-limit", "800MB"], check=True)
    assert contents(tmp_path / "out") == reference


_KILLED = """
import os, signal, sys
from pathlib import Path
from maou.convert import preprocess, preprocess_input
from maou.convert.config_preprocess import PreProcessConfig

phase, jobs = sys.argv[1], int(sys.argv[2])
preprocess_input.TASK_ROWS = 2000
seen = 0

def tell(report):
    global seen
    seen += report.phase == phase
    if seen == jobs > 0:
        os.kill(os.getpid(), signal.SIGKILL)

config = PreProcessConfig(
    input_path=Path(sys.argv[3]), output_dir=Path(sys.argv[4]), shard_rows=4000
)
preprocess.pre_process(config, tell)
"""


@pytest.mark.parametrize(
    ("phase", "jobs"), [("spill", 1), ("spill", 4), ("merge", 1), ("write", 2)]
)
def test_killed_and_run_again_gives_the_same_bytes(
    rows: Rows,
    ids: list[str],
    reference: dict[str, bytes],
    tmp_path: Path,
    phase: str,
    jobs: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = write(tmp_path / "in", "npy bytes ids", rows, ids), tmp_path / "out"
    script = [sys.executable, "-c", _KILLED, phase, str(jobs), source, out]
    assert subprocess.run(script, check=False).returncode == -signal.SIGKILL
    assert (out / "spilled").is_dir()
    (out / "spilled" / ".run-0000099.half").write_bytes(b"left by the crash")
    script[3:5] = ["none", "0"]
    subprocess.run(script, check=True)
    assert contents(out) == reference
    assert process(source, out, *SHARDS) == 0
    assert "Nothing was left to do" in capsys.readouterr().out
    assert contents(out) == reference


def test_a_file_that_cannot_grow_is_one_clear_error(
    rows: Rows, ids: list[str], reference: dict[str, bytes], tmp_path: Path
) -> None:
    source, out = write(tmp_path / "in", "npy bytes ids", rows, ids), tmp_path / "out"
    command = [sys.executable, "-m", "maou", "pre-process", *SHARDS]
    command += ["--input-path", str(source), "--output-dir", str(out)]
    full = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2),
    )
    assert full.returncode == 1
    assert f"Error: cannot write to {out}: File too large" in full.stderr
    assert "run the same command again" in full.stderr
    assert "Traceback" not in full.stderr
    assert process(source, out, *SHARDS) == 0
    assert contents(out) == reference


@pytest.mark.parametrize("name", ["npy bytes ids", "raw"])
def test_the_split_is_that_of_learn_model(
    rows: Rows, ids: list[str], tmp_path: Path, name: str
) -> None:
    source = write(tmp_path / "in", name, rows, ids, pieces=6)
    flags = ["--test-ratio", "0.35", "--seed", "11", "--no-packed"]
    flags += ["--output-format", "feather"]
    assert process(source, tmp_path / "out", *flags) == 0
    shards = tuple(open_hcpe_shard(path) for path in sorted(source.iterdir()))
    split = split_by_game(shards, 0.35, 11)
    held = np.concatenate([split.mask(i, 0, s.rows) for i, s in enumerate(shards)])
    assert 0 < held.sum() < len(rows)
    for side, mask in (("train", ~held), ("validation", held)):
        assert side_codes(tmp_path / "out", side) == codes_of(rows[mask])


@pytest.mark.parametrize("form", ["raw", "feather list", "packed", "dense"])
def test_excluded_positions_are_left_out(
    rows: Rows, ids: list[str], tmp_path: Path, form: str
) -> None:
    source = write(tmp_path / "in", "npy bytes ids", rows, ids)
    test_set = rows[5000:5200]
    if form in CONTAINERS:
        excluded = [write(tmp_path / "test", form, test_set, ids[5000:5200])]
    else:
        made = tmp_path / "made"
        raw = write(tmp_path / "test", "raw", test_set, ids, pieces=2)
        assert process(raw, made, f"--{'no-' if form == 'dense' else ''}packed") == 0
        excluded = [made / "train", made / "validation"]
    flags = [text for path in excluded for text in ("--exclude", str(path))]
    assert process(source, tmp_path / "out", *flags) == 0
    assert process(source, tmp_path / "all") == 0
    gone = codes_of(test_set)
    for side in ("train", "validation"):
        left = side_codes(tmp_path / "all", side) - gone
        assert side_codes(tmp_path / "out", side) == left


def test_nothing_left_is_an_error(
    rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in", "raw", rows[:2000], [], pieces=2)
    assert process(source, tmp_path / "out", "--exclude", str(source)) == 1
    assert "every position of the input was left out" in capsys.readouterr().err


def test_a_bad_row_is_named(
    rows: Rows, ids: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = rows[:3000].copy()
    bad[2345, 34:36] = 0xFF
    source = write(tmp_path / "in", "npy bytes ids", bad, ids)
    assert process(source, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert f"{source / '0.npy'}: row 2345: bestMove16 is not a move" in said
    excluded = rows[:100].copy()
    excluded[42, :32] = 0
    test_set = write(tmp_path / "test", "raw", excluded, [])
    good = write(tmp_path / "good", "npy bytes ids", rows[:3000], ids)
    assert process(good, tmp_path / "out2", "--exclude", str(test_set)) == 2
    assert f"{test_set / '0.hcpe'}: row 42: a king" in capsys.readouterr().err


def test_other_work_in_the_folder_is_refused(
    rows: Rows, ids: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write(tmp_path / "in", "npy bytes ids", rows, ids), tmp_path / "out"
    assert process(source, out) == 0
    before = contents(out)

    def refused(says: str, *flags: str) -> None:
        assert process(source, out, *flags) == 2
        assert says in capsys.readouterr().err
        assert contents(out) == before

    refused("--seed was 0 and is now 3", "--seed", "3")
    refused("--packed was True and is now False", "--no-packed")
    refused("the shards of --exclude have changed", "--exclude", str(source))
    os.utime(source / "0.npy", ns=(1, 1))
    refused("the shards of --input-path have changed")
    (out / "pre-process.json").unlink()
    refused("train holds files such as preprocess-00000.npy")
    assert process(source, source / "out") == 2
    assert "lies in --input-path" in capsys.readouterr().err


def test_damaged_output_is_refused(
    rows: Rows, ids: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write(tmp_path / "in", "npy bytes ids", rows, ids), tmp_path / "out"
    assert process(source, out) == 0
    shard = out / "train" / "preprocess-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert process(source, out) == 2
    assert "missing or changed since it was written" in capsys.readouterr().err
    (out / "pre-process.json").write_text('{"version": 1')
    assert process(source, out) == 2
    assert "damaged" in capsys.readouterr().err


def test_too_little_memory_is_an_error_that_names_what_is_needed(
    rows: Rows, ids: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in", "npy bytes ids", rows, ids)
    assert process(source, tmp_path / "out", "--memory-limit", "50MB") == 2
    said = capsys.readouterr().err
    assert "--memory-limit 50MB: too little" in said
    assert "needs at least" in said


def test_packed_npy_is_what_numpy_reads(
    rows: Rows, ids: list[str], tmp_path: Path
) -> None:
    """The documented way to read a shard without maou."""
    source = write(tmp_path / "in", "npy bytes ids", rows, ids)
    assert process(source, tmp_path / "out") == 0
    path = tmp_path / "out" / "train" / "preprocess-00000.npy"
    shard: Any = np.load(path)
    block = PackedNpy(path).read(0, len(shard["positions"]))
    assert shard["positions"]["hcp"].tobytes() == block.codes.tobytes()
    assert shard["positions"]["end"].tolist() == block.offsets[1:].tolist()
    assert shard["moves"]["label"].tolist() == block.labels.tolist()
    assert path.stat().st_size / len(block.codes) < 128
