"""A full or failing disk: said by path, nothing half written, nothing lost.

Calls fail in the process itself, for every kind of file that a run writes; and there is
a real limit on the size of files, and a real small file system.
"""

import errno
import json
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from chaos import GO_ON, SHORT, outcome
from maou.checkpoint.manifest import verify_manifest
from small_disk import small_disk
from system_faults import CREATE, LINK, MKDIR, RENAME, SYNC, WRITE, Rule, failing

THIRD = "epoch-0001-step-00000003"
FULL, BROKEN = errno.ENOSPC, errno.EIO


def _check_whole(run: Path) -> None:
    """What has its final name is whole, and what a link names is there."""
    for folder in run.glob("m/*/epoch-*"):
        verify_manifest(folder)
    for path in run.glob("m/*/*"):
        assert path.exists(), path
    for path in run.rglob("run.toml"):
        tomllib.loads(path.read_text())
    for path in run.rglob("metrics.jsonl"):
        for line in path.read_text().splitlines():
            json.loads(line)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (failing(WRITE, f"{THIRD}.partial/", FULL), THIRD),
        (failing(CREATE, f"{THIRD}.partial/state.json", FULL, once=True), THIRD),
        (failing(SYNC, f"{THIRD}.partial/optimizer", BROKEN), THIRD),
        (failing(WRITE, f"{THIRD}.partial/.MANIFEST", FULL), THIRD),
        (failing(MKDIR, f".{THIRD}", FULL), THIRD),
        (failing(RENAME, f"/{THIRD}", BROKEN), THIRD),
        (failing(LINK, "/.last", FULL, nth=3), "epoch-0001-step-00000002"),
        (failing(RENAME, "/best-policy", BROKEN), "epoch-0001-step-00000002"),
        (failing(WRITE, "/.run.toml", FULL), "run.toml"),
        (failing(RENAME, "/run.toml", BROKEN), "run.toml"),
        (failing(WRITE, "/run.lock", FULL, once=True), "run.lock"),
    ],
)
def test_what_a_run_needs_ends_it(processes, run, expected, rule: Rule, said: str):
    code, text = processes.run(run, rule, learn=SHORT)
    assert code == 1, text
    error = " ".join(text.partition("Error: ")[2].split())
    assert error.startswith("cannot write "), text
    assert said in error
    assert ("No space left" if rule.argument == FULL else "Input/output error") in error
    assert "go on with maou learn-model" in error or "the same command again" in error
    assert "Traceback" not in text
    _check_whole(run)
    assert not list(run.rglob(".*"))
    begun = any(run.glob("m/*/run.toml"))
    code, text = processes.run(run, learn=GO_ON if begun else SHORT)
    assert code == 0, text
    for folder in run.glob("[ml]/*"):
        if not (folder / "metrics.jsonl").exists() and not (folder / "last").exists():
            shutil.rmtree(folder)  # of the run that could not even begin
    assert outcome(run) == expected


@pytest.mark.parametrize(
    "rule",
    [
        failing(WRITE, "/metrics.jsonl", FULL),
        failing(SYNC, "/metrics.jsonl", BROKEN),
        failing(WRITE, "/events.out", FULL),
        failing(CREATE, "/events.out", BROKEN),
    ],
)
def test_logs_never_end_a_run(processes, run, expected, rule: Rule):
    code, text = processes.run(run, rule, learn=SHORT)
    assert code == 0, text
    assert "Traceback" not in text
    (line,) = (line for line in text.splitlines() if line.startswith("Warning: cannot"))
    assert "training goes on" in line
    assert str(next(run.glob("l/*")).relative_to(run)) in line
    _check_whole(run)
    found = outcome(run)
    weights = {name for name in expected if not name.startswith("metrics")}
    assert weights <= found.keys()
    assert all(found[name] == expected[name] for name in weights)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (WRITE, "/run.lock"),
        (CREATE, "/run.lock"),
        (MKDIR, ""),
        (WRITE, "/.metrics.jsonl"),
    ],
)
def test_logs_never_end_a_run_that_goes_on(processes, run, expected, kind, name):
    code, text = processes.run(run, failing(MKDIR, f".{THIRD}", FULL), learn=SHORT)
    assert code == 1, text
    (logs,) = run.glob("l/*")
    with (logs / "metrics.jsonl").open("a") as stream:
        stream.write('{"kind": "training", "step": 99}\n')  # was cut off
    if kind == MKDIR:
        shutil.rmtree(logs)
    elif name == "/run.lock":
        (logs / "run.lock").unlink()
    rule = failing(kind, f"l/{logs.name}{name}", FULL)
    code, text = processes.run(run, rule, learn=GO_ON)
    assert code == 0, text
    assert "Traceback" not in text
    warnings = [line for line in text.splitlines() if "Warning: cannot" in line]
    assert any(name.replace(".m", "m") in line for line in warnings)
    assert all("training goes on" in line for line in warnings)
    _check_whole(run)
    found = outcome(run)
    weights = {name for name in expected if not name.startswith("metrics")}
    assert all(found[name] == expected[name] for name in weights)


def test_logs_that_can_be_written_again(processes, run):
    once = failing(WRITE, "/metrics.jsonl", FULL, nth=2, once=True)
    code, text = processes.run(run, once, learn=SHORT)
    assert code == 0
    assert "written again; lines missing: 1" in text
    (path,) = run.glob("l/*/metrics.jsonl")
    assert len(path.read_text().splitlines()) == 4  # of 5


def test_an_export_that_cannot_be_written(processes, run):
    arguments = [word for word in SHORT if word != "--no-export-onnx"]
    rule = failing(WRITE, "/.best.onnx", FULL)
    code, text = processes.run(run, rule, learn=arguments)
    assert code == 1
    assert "best.onnx: No space left on device; training is complete and saved" in text
    assert "maou learn-model --resume-from m/resnet" in text
    assert not list(run.rglob("*.onnx*"))
    _check_whole(run)


def test_files_may_not_be_large(processes, run, expected):
    code, text = processes.run(run, learn=SHORT, largest_file=40_000)
    assert code == 1, text
    assert "File too large" in text
    assert "cannot write the checkpoint" in text
    _check_whole(run)
    code, text = processes.run(run, learn=GO_ON)
    assert code == 0, text
    assert outcome(run) == expected


def test_a_disk_is_small(processes, run, expected):
    with small_disk(run, "220k"):
        code, text = processes.run(run, learn=SHORT)
        assert code == 1, text
        assert "No space left on device" in text
        assert "is whole" in text
        _check_whole(run)
        larger = ("mount", "-o", "remount,size=20m", str(run))
        subprocess.run(larger, check=True)
        code, text = processes.run(run, learn=GO_ON)
        assert code == 0, text
        assert outcome(run) == expected
