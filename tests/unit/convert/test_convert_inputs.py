"""Finding files, cutting them into tasks, reading their games."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maou.convert.inputs import Inputs, find_inputs, plan_tasks, read_games
from maou.errors import ConfigError, DataError


def games_of(inputs: Inputs, task_bytes: int) -> list[bytes]:
    tasks = plan_tasks(inputs, task_bytes)
    return [
        game.strip()
        for task in tasks
        for piece in task
        for game in read_games(inputs.root, piece)
    ]


@given(
    games=st.lists(
        st.text("+-0127FU'\n", min_size=1, max_size=30).filter(str.strip), min_size=1
    ),
    separator=st.sampled_from(["\n/\n", "\n/ \n", "\r\n/\r\n", "\n/\n/\n", "\n/\n\n"]),
    task_bytes=st.integers(1, 80),
)
def test_a_file_gives_the_same_games_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory,
    games: list[str],
    separator: str,
    task_bytes: int,
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    text = separator.join(games).encode()
    (folder / "a.csa").write_bytes(text)
    inputs = find_inputs(folder, "auto")
    assert games_of(inputs, task_bytes) == [game.strip().encode() for game in games]


def test_a_separator_may_begin_or_end_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.csa").write_bytes(b"/\nPI\n/\n+7776FU\n/")
    for size in (1, 2, 3, 100):
        assert games_of(find_inputs(tmp_path, "csa"), size) == [b"PI", b"+7776FU"]


def test_a_slash_inside_a_line_separates_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csa").write_bytes(b"$START_TIME:2018/05/03\n/a\n//\nPI\n")
    assert len(games_of(find_inputs(tmp_path, "csa"), 4)) == 1


def test_folders_are_searched_and_sorted(tmp_path: Path) -> None:
    for name in ("b.KIF", "a/z.csa", "a/y.ki2u", "c.txt", "a.csa", "d.kifu"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    inputs = find_inputs(tmp_path, "auto")
    assert [path for path, _ in inputs.files] == [
        "a.csa",
        "a/y.ki2u",
        "a/z.csa",
        "b.KIF",
        "d.kifu",
    ]
    assert inputs.formats == ["csa", "ki2", "csa", "kif", "kif"]
    assert len(find_inputs(tmp_path, "kif").files) == 2
    (tmp_path / "c.txt").write_bytes("▲７六歩 △３四歩".encode("cp932"))
    assert find_inputs(tmp_path / "c.txt", "auto").formats == ["ki2"]
    assert find_inputs(tmp_path / "c.txt", "csa").formats == ["csa"]


def test_the_digest_tells_changes(tmp_path: Path) -> None:
    file = tmp_path / "a.csa"
    file.write_text("one")
    before = find_inputs(tmp_path, "auto").digest
    assert find_inputs(tmp_path, "auto").digest == before
    os.utime(file, ns=(1, 1))
    assert find_inputs(tmp_path, "auto").digest != before


def test_small_files_share_a_task_and_keep_their_order(tmp_path: Path) -> None:
    for i in range(9):
        (tmp_path / f"{i}.csa").write_bytes(b"x" * 10)
    tasks = plan_tasks(find_inputs(tmp_path, "auto"), 35)
    assert [len(task) for task in tasks] == [3, 3, 3]
    assert [piece.file for task in tasks for piece in task] == list(range(9))


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.csa"):
        find_inputs(tmp_path, "auto")
    with pytest.raises(ConfigError, match="neither a file nor a folder"):
        find_inputs(tmp_path / "missing", "auto")
