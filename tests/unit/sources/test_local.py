"""Which files of a folder are shards, in which order, and what is refused."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from maou.errors import DataError
from maou.records.raw import RawShard
from maou.sources.local import open_local_shards
from shard_files import write_npy, write_raw

Rows = npt.NDArray[np.uint8]


@pytest.fixture
def folder(tmp_path: Path, selfplay_rows: Rows) -> Path:
    root = tmp_path / "games"
    for number, name in enumerate(["b.hcpe", "a/z.hcpe", "a.hcpe", "B.HCPE"]):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_raw(path, selfplay_rows[number : number + number + 1])
    write_npy(root / "a" / "deep.npy", selfplay_rows[:9])
    return root


def test_shards_are_sorted_by_their_path_below_the_folder(folder: Path) -> None:
    shards = open_local_shards(folder)
    names = [shards.name(i) for i in range(len(shards.shards))]
    assert names == ["B.HCPE", "a.hcpe", "a/deep.npy", "a/z.hcpe", "b.hcpe"]
    assert shards.rows == 4 + 3 + 9 + 2 + 1
    assert shards.ignored == ()


def test_one_file_is_a_source_too(folder: Path) -> None:
    shards = open_local_shards(folder / "a" / "z.hcpe")
    assert [type(shard) for shard in shards.shards] == [RawShard]
    assert shards.name(0) == "z.hcpe"


def test_other_files_are_listed_and_hidden_ones_are_not(folder: Path) -> None:
    (folder / "README.md").write_text("about")
    (folder / "a" / "games.csa").write_text("V2.2")
    (folder / ".hidden.hcpe").write_bytes(b"x")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "c.npy").write_bytes(b"x")
    shards = open_local_shards(folder)
    assert len(shards.shards) == 5
    assert sorted(path.name for path in shards.ignored) == ["README.md", "games.csa"]


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert len(open_local_shards(tmp_path / "link").shards) == 5
    (tmp_path / "one.hcpe").symlink_to(folder / "a.hcpe")
    assert len(open_local_shards(tmp_path / "one.hcpe").shards) == 1


def test_a_folder_named_like_a_shard_is_a_folder(folder: Path) -> None:
    made = folder / "x.npy"
    made.mkdir()
    assert len(open_local_shards(folder).shards) == 5
    with pytest.raises(DataError, match=f"--input-path {made}: no shards here"):
        open_local_shards(made)


def test_nothing_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        open_local_shards(tmp_path / "missing")
    (tmp_path / "game.csa").write_text("V2.2")
    (tmp_path / "LICENSE").write_text("free")
    with pytest.raises(DataError) as caught:
        open_local_shards(tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert ".hcpe, .hcpe3, .psv, .bin, .npy, .feather" in message
    assert ".csa, none" in message


def test_a_file_of_another_suffix_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "games.dat"
    path.write_bytes(bytes(40))
    with pytest.raises(DataError, match=r"\.dat is not an hcpe container"):
        open_local_shards(path)


def test_the_fingerprint_tells_data_apart(folder: Path, selfplay_rows: Rows) -> None:
    first = open_local_shards(folder).fingerprint()
    assert first == open_local_shards(folder).fingerprint()
    assert len(first) == 16
    int(first, 16)

    def after(path: Path, rows: Rows) -> str:
        old = path.read_bytes()
        write_raw(path, rows)
        changed = open_local_shards(folder).fingerprint()
        path.write_bytes(old)
        return changed

    ends = {
        first,
        after(folder / "a.hcpe", selfplay_rows[50:53]),
        after(folder / "a.hcpe", selfplay_rows[2:6]),
    }
    (folder / "a.hcpe").rename(folder / "renamed.hcpe")
    ends.add(open_local_shards(folder).fingerprint())
    assert len(ends) == 4
    moved = folder.with_name("moved")
    folder.rename(moved)
    assert open_local_shards(moved).fingerprint() in ends, "the root does not count"
