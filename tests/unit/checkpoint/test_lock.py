"""One writer a run: who holds the lock is named; a dead holder's lock is taken over."""

import json
import multiprocessing
import os
import signal
import socket
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import no_files
from maou.checkpoint.lock import LOCK, locked
from maou.errors import TrainingError


def _hold(folder: str, pipe: Connection) -> None:
    with locked(Path(folder), tell=print):
        pipe.send("held")
        pipe.recv()


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `run`."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_hold, args=(str(tmp_path / "run"), theirs))
    process.start()
    assert ours.poll(60)
    assert ours.recv() == "held"
    yield process
    process.kill()
    process.join()


def test_two_processes(tmp_path, holder):
    run, logs = tmp_path / "run", tmp_path / "logs"
    with pytest.raises(TrainingError) as caught, locked(logs, run, tell=print):
        pass
    message = str(caught.value)
    assert f"process {holder.pid} on {socket.gethostname()}, begun 20" in message
    assert str(run) in message
    assert (logs / LOCK).read_text() == ""  # what was held already is let go

    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    said: list[str] = []
    with locked(run, tell=said.append):
        assert json.loads((run / LOCK).read_text())["pid"] == os.getpid()
    (line,) = said
    assert f"left behind by process {holder.pid} on" in line
    assert "taken over" in line


def test_an_orderly_end_leaves_nothing_to_explain(tmp_path):
    said: list[str] = []
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path / "run", tell=said.append):
            raise KeyError
    assert said == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(TrainingError, match=r"cannot write .*: Not a directory"),
        locked(tmp_path / "file" / "run", tell=print),
    ):
        pass


def test_a_damaged_lock_file(tmp_path):
    (tmp_path / LOCK).write_text("\0{")
    said: list[str] = []
    with locked(tmp_path, tell=said.append):
        pass
    assert "process unknown" in said[0]


@pytest.mark.parametrize("left", [b"\377\376", b"[1]", b"\0" * 50, b"{" * 9000])
def test_a_lock_that_cannot_be_read_is_taken_over(tmp_path, left):
    (tmp_path / LOCK).write_bytes(left)
    said: list[str] = []
    with locked(tmp_path, tell=said.append):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert "process unknown" in said[0]
    assert (tmp_path / LOCK).read_bytes() == b""


def test_what_a_lock_says_is_shortened(tmp_path):
    (tmp_path / LOCK).write_text(json.dumps({"pid": 10**3000, "host": "h" * 500}))
    said: list[str] = []
    with locked(tmp_path, tell=said.append):
        pass
    assert len(said[0]) < 400 + len(str(tmp_path))


@pytest.mark.parametrize("kind", no_files.KINDS)
def test_a_lock_is_a_file_of_the_folder(tmp_path, kind):
    path, outside = tmp_path / "run" / LOCK, tmp_path / "outside"
    path.parent.mkdir()
    no_files.put(kind, path, outside, "kept")
    with (
        pytest.raises(TrainingError, match=r"run\.lock: is a .*; move it away"),
        locked(path.parent, tell=print),
    ):
        pass
    if kind == "link":
        assert outside.read_text() == "kept"
    else:
        assert not outside.exists()
