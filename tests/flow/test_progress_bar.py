"""The bar on a terminal: shown while training, gone afterwards, whatever ends it."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

HIDE, SHOW, ERASE = "\x1b[?25l", "\x1b[?25h", "\x1b[2K"


class OnTerminal:
    """A command whose stderr is a terminal."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "maou", *arguments],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
            cwd=folder,
            start_new_session=True,
        )
        os.close(theirs)
        self.text, self._seen = "", threading.Condition()
        self._ours = ours
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how a terminal says that it is closed
            while data := os.read(self._ours, 4096):
                with self._seen:
                    self.text += data.decode(errors="replace")
                    self._seen.notify_all()

    def wait_for(self, words: str) -> None:
        with self._seen:
            assert self._seen.wait_for(lambda: words in self.text, timeout=120)

    def end(self) -> int:
        self.process.communicate(timeout=120)
        self._reader.join(timeout=60)
        os.close(self._ours)
        return self.process.returncode


def learn(path: Path, *more: str) -> list[str]:
    return [
        *("learn-model", "--input-path", str(path), "--gpu", "cpu"),
        *("--resnet-blocks", "1", "--resnet-channels", "8", "--batch-size", "64"),
        *("--health-interval", "0.05", *more),
    ]


@pytest.fixture
def shard(tmp_path, selfplay_rows) -> Path:
    path = tmp_path / "rows.hcpe"
    path.write_bytes(selfplay_rows[:4000].tobytes())
    return path


def assert_gone(text: str) -> None:
    """The bar was there; at the end it is erased and the cursor is back."""
    assert HIDE in text
    assert "━" in text
    assert text.count(HIDE) == text.count(SHOW)
    assert "━" not in text[text.rindex(SHOW) :]
    assert ERASE in text[text.rindex(SHOW) :]


def test_a_run_shows_a_bar_instead_of_lines(shard, tmp_path):
    run = OnTerminal(learn(shard, "--epoch", "2", "--no-export-onnx"), tmp_path)
    assert run.end() == 0
    assert_gone(run.text)
    assert re.search(r"\d+/\d+  epoch 1  loss [\d.]+  [\d,]+ pos/s  ETA \d", run.text)
    assert "epoch 1  step" not in run.text
    for when in ("before training", "after epoch 1", "after epoch 2"):
        assert re.search(rf"[\r\n](\x1b\[[\d;]*[A-Za-z])*validation {when}", run.text)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_leaves_a_sane_terminal(shard, tmp_path, number, code):
    run = OnTerminal(learn(shard, "--epoch", "1000"), tmp_path)
    run.wait_for("━")
    os.killpg(run.process.pid, number)
    assert run.end() == code
    assert_gone(run.text)
    assert "Traceback" not in run.text


def test_an_error_stands_below_the_bars_place(shard, tmp_path):
    more = ("--epoch", "1000", "--learning-ratio", "1e30", "--optimizer", "sgd")
    run = OnTerminal(learn(shard, *more), tmp_path)
    assert run.end() == 1
    assert "the loss is not finite" in run.text
    assert run.text.count(HIDE) == run.text.count(SHOW)
    assert run.text.rfind(SHOW) < run.text.index("Error: ")


def test_away_from_a_terminal_progress_is_lines(capsys):
    from maou.cli import console

    with console.Progressing(line_seconds=0.0) as progress:
        progress.update(0.25, "7 games finished")
    assert capsys.readouterr().err == " 25%  7 games finished\n"
