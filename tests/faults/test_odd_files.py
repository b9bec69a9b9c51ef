"""Links, pipes, sockets and devices among data files: refused by name, never opened."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from maou.cli.main import run

DATA = Path(__file__).parents[1] / "data"


def file_link(path: Path) -> None:
    path.symlink_to(DATA / "selfplay-256.hcpe")


def folder_link(path: Path) -> None:
    path.symlink_to(DATA)


def broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("only root may make devices")


ODD: dict[str, tuple[Callable[[Path], None], str]] = {
    "link": (file_link, "a symbolic link"),
    "folder link": (folder_link, "a symbolic link"),
    "broken link": (broken_link, "a symbolic link"),
    "pipe": (pipe, "a pipe"),
    "socket": (unix_socket, "a socket"),
    "device": (device, "a device"),
}

COMMANDS: dict[str, tuple[str, ...]] = {
    "learn-model": ("learn-model", "--input-path", "{0}", "--dry-run"),
    "stage 3": ("learn-model", "--stage", "3", "--stage3-data-path", "{0}"),
    "stage 2": ("learn-model", "--stage", "2", "--stage2-data-path", "{0}"),
    "pre-process": ("pre-process", "--input-path", "{0}", "--output-dir", "{1}"),
    "exclude": (
        "pre-process", "--input-path", str(DATA / "selfplay-256.hcpe"),
        "--exclude", "{0}", "--output-dir", "{1}",
    ),
    "hcpe-convert": ("hcpe-convert", "--input-path", "{0}", "--output-dir", "{1}"),
    "check-data": ("utility", "check-data", "{0}"),
    "stage 2 data": (
        "utility", "generate-stage2-data", "--input-path", "{0}", "--output-dir", "{1}",
    ),
    "benchmark-dataloader": ("utility", "benchmark-dataloader", "--input-path", "{0}"),
}  # fmt: skip
"""Every command that walks a folder of data."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "data"
    (made / "inner").mkdir(parents=True)
    rows = (DATA / "selfplay-256.hcpe").read_bytes()
    (made / "inner" / "a.hcpe").write_bytes(rows)
    (made / "game.csa").write_bytes(b"V2.2\nPI\n+\n+7776FU\n%TORYO\n")
    monkeypatch.chdir(tmp_path)
    return made


def refusal(
    command: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> str:
    words = [word.format(folder, tmp_path / "out") for word in COMMANDS[command]]
    assert run(words) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("Error: ")
    return line


@pytest.mark.parametrize("odd", ODD)
def test_each_kind_is_refused_by_name(
    odd: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, kind = ODD[odd]
    make(folder / "inner" / "odd.hcpe")
    for command in ("check-data", "hcpe-convert"):
        line = refusal(command, folder, tmp_path, capsys)
        assert f"inner/odd.hcpe ({kind})" in line
        assert "move or copy" in line


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_a_pipe_and_does_not_wait(
    command: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(folder / "b.hcpe")
    assert "b.hcpe (a pipe)" in refusal(command, folder, tmp_path, capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_pipe_given_as_the_data_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(tmp_path / "b.hcpe")
    line = refusal(command, tmp_path / "b.hcpe", tmp_path, capsys)
    assert "b.hcpe" in line


def test_what_is_hidden_is_left_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(folder / ".pipe.hcpe")
    (folder / ".hidden").mkdir()
    file_link(folder / ".hidden" / "b.hcpe")
    assert run(["utility", "check-data", str(folder)]) == 0


@pytest.mark.parametrize("flag", ["--config", "--resume-from", "--model"])
def test_a_pipe_as_settings_or_model_is_refused(
    flag: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(tmp_path / "pipe")
    words = ["learn-model", flag, str(tmp_path / "pipe")]
    if flag == "--model":
        words = ["evaluate", *words[1:], "--input-path", str(DATA / "selfplay.hcpe")]
    assert run(words) == 2
    assert str(tmp_path / "pipe") in capsys.readouterr().err
