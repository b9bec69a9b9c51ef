"""Ctrl-C and SIGTERM while training: saved, the right exit code, no orphans."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from maou.checkpoint.manifest import verify_manifest


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130)])
def test_a_signal_ends_the_whole_run(
    tmp_path: Path, selfplay_path: Path, number: int, code: int
) -> None:
    """The signal goes to the whole process group, as a terminal sends it.

    Every phase of a run, and SIGTERM, are in tests/faults/test_signals.py.
    """
    arguments = (
        *("--input-path", str(selfplay_path), "--gpu", "cpu", "--epoch", "1000"),
        *("--resnet-blocks", "1", "--resnet-channels", "8", "--batch-size", "100"),
        *("--dataloader-workers", "1", "--health-interval", "0.01"),
        *("--model-dir", str(tmp_path / "m"), "--log-dir", str(tmp_path / "l")),
    )
    with subprocess.Popen(
        [sys.executable, "-m", "maou", "learn-model", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 1  step"):
                break
        os.killpg(process.pid, number)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == code
    assert "Traceback" not in rest
    assert "Interrupted after step" in rest
    (folder,) = (tmp_path / "m").iterdir()
    assert f"--resume-from {folder}" in rest
    verify_manifest((folder / "last").resolve())
    deadline = time.monotonic() + 60  # torch's and multiprocessing's own helpers
    while _alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _alive(process.pid) == []


def test_a_run_that_nobody_watches_goes_on(tmp_path: Path, selfplay_path: Path) -> None:
    """As where the terminal was closed after nohup, or `tee` has ended."""
    shard = tmp_path / "rows.hcpe"
    shard.write_bytes(selfplay_path.read_bytes()[: 38 * 2000])
    arguments = (
        *("--input-path", str(shard), "--gpu", "cpu", "--epoch", "2"),
        *("--resnet-blocks", "1", "--resnet-channels", "8", "--batch-size", "100"),
        *("--health-interval", "0.01", "--no-export-onnx"),
        *("--model-dir", str(tmp_path / "m"), "--log-dir", str(tmp_path / "l")),
    )
    with (
        Path("/dev/full").open("w") as full,
        subprocess.Popen(
            [sys.executable, "-m", "maou", "learn-model", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        assert process.stderr is not None
        process.stderr.readline()
        process.stderr.close()
        assert process.wait(timeout=120) == 0
    (folder,) = (tmp_path / "m").iterdir()
    assert (folder / "last").resolve().name.startswith("epoch-0002-")


def _alive(group: int) -> list[str]:
    """List the processes of a group that have not ended."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        with contextlib.suppress(ProcessLookupError):
            member = os.getpgid(process.pid) == group
            if member and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(str(process.info["cmdline"]))
    return found
