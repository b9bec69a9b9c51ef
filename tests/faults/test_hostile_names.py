"""Names that would steer a terminal, a report or a path: shown escaped, or refused."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maou.cli import console
from maou.cli.main import run
from maou.cli.options import build_run
from maou.config_file import read_config, write_config
from maou.sources.local import open_local_shards
from maou.text import printable

DATA = Path(__file__).parents[1] / "data"
EVIL = "a\x1b[2J\x1b]0;owned\x07\nError: b\u202e[red]c.hcpe"


@given(st.text())
def test_nothing_unprintable_is_left(text: str) -> None:
    shown = printable(text)
    assert shown.replace("\u3000", "").isprintable()
    assert printable("かな　漢字 and [text]") == "かな　漢字 and [text]"


def test_a_name_reaches_terminal_and_json_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = bytearray((DATA / "selfplay-256.hcpe").read_bytes())
    rows[:38] = bytes(38)
    (tmp_path / EVIL).write_bytes(rows)
    for words in ([], ["--json", "-"], ["--json", str(tmp_path / "out.json")]):
        assert run(["utility", "check-data", str(tmp_path), *words]) == 1
        told = capsys.readouterr()
        for text in (told.out, told.err):
            assert all(c.isprintable() or c == "\n" for c in text)
            assert "\nError: b" not in text
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["examples"][0]["file"] == EVIL


def test_a_name_reaches_an_error_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / EVIL).write_bytes(b"cut")
    assert run(["utility", "check-data", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert r"\x1b[2J" in shown
    assert r"[red]c.hcpe" in shown  # and no markup


def test_a_name_that_is_no_utf8_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\xfe.hcpe"
    Path(os.fsdecode(path)).write_bytes((DATA / "selfplay-256.hcpe").read_bytes())
    assert run(["utility", "check-data", str(tmp_path)]) == 0
    assert len(open_local_shards(tmp_path).fingerprint()) == 16
    assert run(["learn-model", "--input-path", os.fsdecode(path), "--dry-run"]) == 2
    assert "is not UTF-8 text" in capsys.readouterr().err


def test_brackets_in_a_table_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("a[red]", "b"), [("[bold]x[/bold]", "[/]")], "of [link=x]y")
    shown = capsys.readouterr().out
    assert "[bold]x[/bold]" in shown
    assert "of [link=x]y" in shown


def test_the_report_of_rejects_has_one_line_a_game(tmp_path: Path) -> None:
    games = tmp_path / "games"
    games.mkdir()
    (games / "a\tb\n\x1b[31m.csa").write_bytes(b"V2.2\nPI\n+\n+\x1b[31m\x00\n%TORYO\n")
    (games / "good.csa").write_bytes(b"V2.2\nPI\n+\n+7776FU\n%TORYO\n")
    out = tmp_path / "out"
    assert (
        run(["hcpe-convert", "--input-path", str(games), "--output-dir", str(out)]) == 0
    )
    report = (out / "rejects.tsv").read_text()
    assert report.count("\n") == 2
    assert report.splitlines()[1].startswith(r"a\tb\n\x1b[31m.csa" + "\t1\t")
    assert all(c.isprintable() or c in "\t\n" for c in report)


@given(name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_path_comes_back_from_run_toml(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = build_run({"input_path": Path("x" + name)})
    text = write_config(config)
    assert all(c.isprintable() or c in "\n　" for c in text)
    path = tmp_path_factory.getbasetemp() / "run.toml"
    path.write_text(text)
    if text.count(".") < 100:
        assert read_config(path)["input_path"] == str(Path("x" + name))
