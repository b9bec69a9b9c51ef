"""Atomic writes: the old content or the new, never a part, and nothing left over."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maou.files import atomic_write, sync_folder


@given(chunks=st.lists(st.binary(max_size=3000), max_size=4))
def test_what_is_written_is_there(
    chunks: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "written"
    with atomic_write(path) as stream:
        for chunk in chunks:
            stream.write(chunk)
    assert path.read_bytes() == b"".join(chunks)


def test_folders_are_made_and_names_may_be_hidden_or_long(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / ".hidden"
    with atomic_write(path) as stream:
        stream.write(b"x")
    assert path.read_bytes() == b"x"
    assert [entry.name for entry in path.parent.iterdir()] == [".hidden"]


def write_and_raise(path: Path, error: BaseException) -> None:
    with atomic_write(path) as stream:
        stream.write(b"half of the new")
        raise error


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), KeyboardInterrupt(), SystemExit(143)]
)
def test_the_old_content_stays_when_the_block_raises(
    error: BaseException, tmp_path: Path
) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"old")
    with pytest.raises(type(error)):
        write_and_raise(path, error)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_nothing_is_left_when_a_new_file_fails(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with pytest.raises(ZeroDivisionError), atomic_write(path):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_not_under_its_name_before_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "late"
    with atomic_write(path) as stream:
        stream.write(b"x" * 100_000)
        stream.flush()
        assert not path.exists()
    assert path.stat().st_size == 100_000


def test_a_folder_in_the_way_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").touch()
    with pytest.raises(OSError, match="taken"), atomic_write(tmp_path / "taken") as out:
        out.write(b"x")
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["inside", "taken"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_an_ordinary_new_file(
    mask: int, tmp_path: Path
) -> None:
    """In a process of its own: the mask belongs to the whole process."""
    code = (
        "import os, sys, pathlib\n"
        "from maou.files import atomic_write\n"
        f"os.umask({mask})\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as out: out.write(b'x')\n"
        "pathlib.Path(sys.argv[1] + '-plain').write_bytes(b'x')\n"
        f"assert os.umask(0) == {mask}\n"
    )
    path = tmp_path / "file"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    plain = Path(f"{path}-plain")
    assert path.stat().st_mode == plain.stat().st_mode
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_killed_writer_leaves_the_old_content(tmp_path: Path) -> None:
    """Killed, not raised: no clean-up runs, and the name still holds the old file."""
    path = tmp_path / "state"
    path.write_bytes(b"old")
    code = (
        "import os, pathlib, signal, sys\n"
        "from maou.files import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as out:\n"
        "    out.write(b'new' * 99999)\n"
        "    out.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert ended.returncode == -9
    assert path.read_bytes() == b"old"
    left = [entry.name for entry in tmp_path.iterdir() if entry != path]
    assert all(name.startswith(".state.") for name in left), "hidden, so never a shard"


def test_sync_folder_accepts_folders_only(tmp_path: Path) -> None:
    handles = Path("/proc/self/fd")
    before = len(list(handles.iterdir()))
    sync_folder(tmp_path)
    assert len(list(handles.iterdir())) == before, "the handle is closed"
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")
