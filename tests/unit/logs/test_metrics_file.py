"""`metrics.jsonl`: whole lines of what a run has behind it, and never a dead run."""

import json
from pathlib import Path

import pytest

import no_files
from maou.logs.metrics_file import MetricsFile
from maou.train.events import Event
from training_states import state_after_a_step

EVENT = Event("loss_spike", 4, "a spike", {})


def _entries(path: Path) -> list[tuple[str, int]]:
    entries = (json.loads(line) for line in path.read_text().splitlines())
    return [(entry["kind"], entry["step"]) for entry in entries]


def _line(step: int, **others: object) -> str:
    return json.dumps({"kind": "training", "step": step, **others}) + "\n"


def _append(path: Path, step: int = 3) -> list[str]:
    """Go on at a step, and write a line; give what was told."""
    told: list[str] = []
    state = state_after_a_step(epoch=1, step=step)
    MetricsFile(path, state, told.append).on_event(state, EVENT)
    return told


def test_what_was_cut_off_is_removed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    after = json.dumps({"kind": "validation", "epoch": 2, "step": 3}) + "\n"
    path.write_text(_line(1) + after + "{torn\n" + _line(3) + _line(4))
    assert _append(path) == []
    assert _entries(path) == [("training", 1), ("training", 3), ("loss_spike", 4)]


def test_a_last_line_without_its_end(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text((_line(1) + _line(2)).rstrip())
    assert _append(path) == []
    assert _entries(path) == [("training", 1), ("training", 2), ("loss_spike", 4)]


@pytest.mark.parametrize("kind", no_files.KINDS)
def test_what_is_no_regular_file_is_not_written(tmp_path, kind):
    path, outside = tmp_path / "metrics.jsonl", tmp_path / "outside"
    no_files.put(kind, path, outside, _line(9))
    (warning,) = _append(path)
    assert warning.startswith(f"Warning: cannot write {path}: is a")
    assert "training goes on" in warning
    if kind == "link":
        assert outside.read_text() == _line(9)
    else:
        assert not outside.exists()


def test_a_folder_that_is_there_only_later(tmp_path):
    told: list[str] = []
    state = state_after_a_step(epoch=1, step=3)
    path = tmp_path / "logs" / "metrics.jsonl"
    file = MetricsFile(path, state, told.append)
    file.on_event(state, EVENT)
    file.on_event(state, EVENT)
    path.parent.mkdir()
    file.on_event(state, EVENT)
    assert len(told) == 2
    assert "written again; lines missing: 2" in told[1]
    assert _entries(path) == [("loss_spike", 4)]
