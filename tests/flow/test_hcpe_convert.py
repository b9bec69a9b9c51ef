"""`maou hcpe-convert` as a user runs it, on real games."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rsshogi.record import Record

from maou.cli.main import run
from maou.records.containers import open_hcpe_shard
from maou.records.hcpe import HCPE

DATA = Path(__file__).parents[1] / "data"
SELFPLAY = DATA / "games" / "selfplay.csa"


def convert(source: Path, out: Path, *flags: str) -> int:
    """Run the command in this process and return its exit code."""
    base = ["hcpe-convert", "--input-path", str(source), "--output-dir", str(out)]
    return run([*base, "--workers", "0", *flags])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("hcpe-[0-9]*"))


def rows(folder: Path) -> np.ndarray:
    opened = [open_hcpe_shard(path) for path in shards(folder)]
    return np.concatenate([s.read(0, s.rows) for s in opened]).view(HCPE).reshape(-1)


def rejects(folder: Path) -> list[list[str]]:
    lines = (folder / "rejects.tsv").read_text().splitlines()
    assert lines[0] == "file\tgame\tply\treason"
    return [line.split("\t") for line in lines[1:]]


def test_every_container_holds_the_same_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    for container in ("feather", "npy", "hcpe"):
        out = tmp_path / container
        assert convert(SELFPLAY, out, "--output-format", container) == 0
        made.append(rows(out))
    assert made[0].tobytes() == made[1].tobytes() == made[2].tobytes()
    assert len(made[0]) > 1000
    assert set(made[0]["gameResult"].tolist()) == {0, 1, 2}
    said = capsys.readouterr().out
    assert "games      13" in said
    assert "rejected   1  (1 unfinished)" in said
    assert f"positions  {len(made[0]):,}" in said
    assert rejects(out) == [
        ["selfplay.csa", "11", "39", "unfinished: %ILLEGAL_ACTION gives no result"]
    ]


def test_formats_and_encodings_agree(tmp_path: Path) -> None:
    games = SELFPLAY.read_text().split("\n/\n")[:3]
    for name, suffix, encoding, write in [
        ("csa8", "csa", "utf-8", Record.to_csa),
        ("csabom", "csa", "utf-8-sig", Record.to_csa),
        ("csasjis", "csa", "cp932", Record.to_csa),
        ("kif8", "kifu", "utf-8", Record.to_kif),
        ("kifbom", "kif", "utf-8-sig", Record.to_kif),
        ("kifsjis", "KIF", "cp932", Record.to_kif),
        ("ki2utf8", "ki2u", "utf-8", Record.to_ki2),
        ("ki2sjis", "ki2", "cp932", Record.to_ki2),
    ]:
        folder = tmp_path / name / "sub"
        folder.mkdir(parents=True)
        for i, game in enumerate(games):
            record = Record.from_csa_str(game)
            record.metadata.black_player = "先手太郎"
            text = write(record).replace("\n", "\r\n")
            (folder / f"{i}.{suffix}").write_bytes(text.encode(encoding))
        assert convert(tmp_path / name, tmp_path / f"{name}-out") == 0
    wanted = rows(tmp_path / "csa8-out")
    wanted["eval"] = 0
    for out in tmp_path.glob("*-out"):
        made = rows(out)
        made["eval"] = 0
        assert made.tobytes() == wanted.tobytes(), out


def test_a_given_format_beats_the_suffix(tmp_path: Path) -> None:
    renamed = tmp_path / "games.txt"
    shutil.copy(SELFPLAY, renamed)
    assert convert(renamed, tmp_path / "a") == 0  # several games: told by the content
    assert convert(renamed, tmp_path / "b", "--input-format", "csa") == 0
    assert rows(tmp_path / "b").tobytes() == rows(tmp_path / "a").tobytes()
    assert convert(renamed, tmp_path / "c", "--input-format", "kif") == 1


def test_output_does_not_depend_on_workers(tmp_path: Path) -> None:
    source = tmp_path / "games"
    source.mkdir()
    for i in range(6):  # two of them large enough to be cut into tasks
        text = SELFPLAY.read_text()
        (source / f"{i}.csa").write_text(
            "\n/\n".join([text.strip()] * (60 if i < 2 else 1))
        )
    shutil.copytree(DATA / "unusual", source / "unusual")
    made = []
    for workers in ("0", "1", "2"):
        out = tmp_path / workers
        flags = ["--shard-rows", "30000", "--workers", workers]
        assert convert(source, out, *flags) == 0
        made.append(contents(out))
    assert made[0] == made[1] == made[2]
    assert len(shards(tmp_path / "0")) > 4


def test_no_game_is_split_and_no_shard_is_too_long(tmp_path: Path) -> None:
    assert convert(SELFPLAY, tmp_path, "--shard-rows", "250") == 0
    seen: set[int] = set()
    for path in shards(tmp_path):
        shard = open_hcpe_shard(path)
        keys = set(shard.game_keys(0, shard.rows).tolist())
        assert not keys & seen
        seen |= keys
        assert shard.rows <= 250 or len(keys) == 1
    assert len(seen) == 12


def test_raw_output_has_several_shards(tmp_path: Path) -> None:
    source = tmp_path / "games.csa"
    source.write_text("\n/\n".join([SELFPLAY.read_text().strip()] * 30))
    assert convert(source, tmp_path / "out", "--output-format", "hcpe") == 0
    assert 7 <= len(shards(tmp_path / "out")) <= 30


@pytest.mark.parametrize("shard", [0, 3])
def test_killed_at_any_time_and_run_again_gives_the_same_bytes(
    tmp_path: Path, shard: int
) -> None:
    source = tmp_path / "games"
    source.mkdir()
    for i in range(4):
        text = "\n/\n".join([SELFPLAY.read_text().strip()] * 30)
        (source / f"{i}.csa").write_text(text)
    flags = ["--shard-rows", "5000"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert convert(source, whole, *flags) == 0
    command = [sys.executable, "-m", "maou", "hcpe-convert", "--workers", "2", *flags]
    command += ["--input-path", str(source), "--output-dir", str(broken)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    awaited = broken / f"hcpe-{shard:05d}.feather"
    while not awaited.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (broken / ".hcpe-00099.feather.half").write_bytes(b"left by the crash")
    (broken / "rejects.tsv").open("ab").write(b"a line that was not finished")
    assert convert(source, broken, *flags) == 0
    assert contents(broken) == contents(whole)


def test_workers_end_when_the_command_is_killed(tmp_path: Path) -> None:
    source = tmp_path / "games.csa"
    source.write_text("\n/\n".join([SELFPLAY.read_text().strip()] * 400))
    command = [sys.executable, "-m", "maou", "hcpe-convert", "--workers", "2"]
    command += ["--input-path", str(source), "--output-dir", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "--shard-rows", "2000"], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not shards(tmp_path / "out"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    process.kill()
    process.wait()
    left = [Path("/proc", child) for child in children.split()]
    assert left
    while any(path.exists() for path in left):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_second_run_has_nothing_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(SELFPLAY, tmp_path) == 0
    before = contents(tmp_path)
    capsys.readouterr()
    assert convert(SELFPLAY, tmp_path) == 0
    assert "Nothing was left to do" in capsys.readouterr().out
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--output-format", "npy"], "--output-format was feather and is now npy"),
        (["--min-moves", "3"], "--min-moves was not given and is now 3"),
        (["--exclude-moves", "1"], "--exclude-moves was not given and is now 1"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], says: str
) -> None:
    assert convert(SELFPLAY, tmp_path) == 0
    before = contents(tmp_path)
    assert convert(SELFPLAY, tmp_path, *flags) == 2
    assert says in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_changed_games_and_damaged_output_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "games", tmp_path / "out"
    source.mkdir()
    shutil.copy(SELFPLAY, source / "a.csa")
    assert convert(source, out) == 0
    os.utime(source / "a.csa", ns=(1, 1))
    assert convert(source, out) == 2
    assert "written to or renamed" in capsys.readouterr().err
    shutil.copy(SELFPLAY, source / "b.csa")
    assert convert(source, out) == 2
    assert "1 files then, 2 now" in capsys.readouterr().err

    (source / "b.csa").unlink()
    shutil.rmtree(out)
    assert convert(source, out) == 0
    shards(out)[0].write_bytes(b"")
    assert convert(source, out) == 2
    assert "missing or changed" in capsys.readouterr().err
    (out / "hcpe-convert.json").write_text('{"version": 1')
    assert convert(source, out) == 2
    assert "damaged" in capsys.readouterr().err
    (out / "hcpe-convert.json").unlink()
    assert convert(source, out) == 2
    assert "a conversion that is unknown" in capsys.readouterr().err


def test_filters_are_counted_apart_from_rejects(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--allowed-endgame-status", "%TORYO", "--max-moves", "150"]
    assert convert(SELFPLAY, tmp_path / "a", *flags) == 0
    said = capsys.readouterr().out
    assert "--allowed-endgame-status" in said
    assert "rejected   1  (1 unfinished)" in said
    progress = json.loads((tmp_path / "a" / "hcpe-convert.json").read_text())
    assert sum(progress["filtered"].values()) + progress["converted"] == 12
    assert convert(SELFPLAY, tmp_path / "b", "--exclude-moves", "1-20") == 0
    assert convert(SELFPLAY, tmp_path / "c") == 0
    assert len(rows(tmp_path / "c")) - len(rows(tmp_path / "b")) == 12 * 20


def test_exit_code_1_only_when_nothing_was_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(DATA / "unusual" / "bad_022.csa", tmp_path / "a") == 0
    assert convert(DATA / "unusual" / "bad_002.csa", tmp_path / "b") == 1
    said = capsys.readouterr().err
    assert "no game was converted: 1 were rejected" in said
    assert "rejects.tsv" in said
    assert convert(SELFPLAY, tmp_path / "c", "--min-rating", "1") == 1
    assert "12 dropped by the filters" in capsys.readouterr().err
    assert convert(tmp_path / "missing", tmp_path / "d") == 2
    assert convert(tmp_path / "b", tmp_path / "e") == 2
    assert "no game files" in capsys.readouterr().err
    assert convert(SELFPLAY, tmp_path / "f", "--min-moves", "x") == 2


def test_the_report_gives_each_unusual_file_its_reason(tmp_path: Path) -> None:
    assert convert(DATA / "unusual", tmp_path) == 0
    found = {name: (int(ply), reason) for name, _, ply, reason in rejects(tmp_path)}
    for name, (ply, reason) in UNUSUAL.items():
        assert found[name][0] == ply, (name, found[name])
        assert found[name][1].startswith(reason), (name, found[name])
    every = {path.name for path in (DATA / "unusual").iterdir()}
    assert every - set(found) == {"bad_022.csa"}
    assert set(found) == set(UNUSUAL)


def test_files_that_cannot_be_read_stop_nothing(tmp_path: Path) -> None:
    source = tmp_path / "games"
    source.mkdir()
    shutil.copy(SELFPLAY, source / "good.csa")
    (source / "empty.csa").write_bytes(b"")
    (source / "noise.kif").write_bytes(bytes(range(256)) * 40)
    assert convert(source, tmp_path / "out") == 0
    found = {line[0]: line[3] for line in rejects(tmp_path / "out")}
    assert found["empty.csa"] == "no moves: the file is empty"
    assert found["noise.kif"].startswith("unreadable")
    assert len(rows(tmp_path / "out")) > 1000


UNUSUAL = {
    "bad_001.csa": (0, "handicap: the start position has 38 of 40 pieces"),
    "bad_002.csa": (11, "illegal move: +8855KA"),
    "bad_003.csa": (3, "unreadable: '+8822KA+'"),
    "bad_004.csa": (3, "illegal move: +2222KA"),
    "bad_005.csa": (4, "unfinished"),
    "bad_006.csa": (1, "illegal move: +0022KA"),
    "bad_007.csa": (3, "unfinished"),
    "bad_008.csa": (3, "unfinished"),
    "bad_009.csa": (3, "unreadable: '+8822KA+'"),
    "bad_010.csa": (2, "unreadable: '+'"),
    "bad_016.csa": (3, "unreadable: '+8822KA+'"),
    "bad_018.csa": (9, "unfinished"),
    "bad_019.csa": (7, "unfinished"),
    "bad_024.csa": (0, "pieces missing: the start position has no black king"),
    "bad_025.csa": (1, "illegal move: +0017FU"),
    "bad_026.kif": (1, "illegal move: ２三銀打"),
    "bad_027.kif": (1, "illegal move: ２三銀打"),
    "bad_028.kif": (0, "no moves"),
    "bad_029.kifu": (0, "no moves"),
    "bad_030.kifu": (5, "illegal move: ６五角(66)"),
    "bad_031.kifu": (0, "no moves"),
    "bad_032.kifu": (0, "unreadable: the diagram has 2 ranks"),
    "bad_034.kifu": (0, "pieces missing: the start position has 23 of 40"),
    "bad_035.kifu": (3, "illegal move: 同"),
    "bad_037.kif": (1, "unreadable"),
    "bad_039.kif": (123, "illegal move: １二歩打"),
    "bad_040.kif": (58, "illegal move: ５三歩打"),
    "bad_041.kif": (62, "illegal move: ６六歩打"),
    "bad_042.kif": (85, "illegal move: ４四歩打"),
    "bad_043.kif": (124, "illegal move: ２四玉(33)"),
    "bad_044.kif": (89, "illegal move: ７三歩打"),
    "bad_045.kif": (0, "no moves"),
    "bad_046.kif": (157, "illegal move: ５三角打"),
    "bad_051.kifu": (0, "no moves"),
    "bad_052.kifu": (0, "no moves"),
    "bad_053.kif": (0, "no moves"),
    "bad_054.kifu": (0, "no moves"),
    "bad_055.kifu": (0, "pieces missing: the start position has 14 of 40"),
    "bad_056.kifu": (0, "pieces missing: the start position has 2 of 40"),
    "bad_058.csa": (105, "illegal move: +3122OU"),
    "bad_059.csa": (83, "illegal move: +4151KI"),
    "bad_061.csa": (84, "illegal move: -4729KA"),
    "bad_062.csa": (76, "illegal move: -2111RY"),
    "bad_064.csa": (138, "illegal move: -0068FU"),
    "bad_065.csa": (25, "illegal move: +0098FU"),
}
"""Each refused file of the folder: the move and the beginning of the reason."""
