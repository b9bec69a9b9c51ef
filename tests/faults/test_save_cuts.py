"""A save that is cut at any of its system calls leaves a run that goes on.

The fourth epoch of a run is saved, better by total and policy: `best` and `best-policy`
move, and the second epoch's checkpoint is removed. Every call on the way is the last
one once.
"""

import os
import shutil
from pathlib import Path

import pytest

from checkpoint_jobs import LOSSES, save_epochs
from maou.checkpoint.config import CheckpointConfig
from maou.checkpoint.load import load_checkpoint
from maou.checkpoint.manifest import MANIFEST, verify_manifest
from maou.checkpoint.resume import find_resume_point, go_on_from, restore
from maou.train.metrics import PolicyValueMetrics
from system_faults import RENAME, SYNC, WRITE, killed
from training_states import state_after_a_step

KEEP = CheckpointConfig().kept
AFTER_3 = {"last": 3, "best": 1, "best-policy": 2, "best-value": 3}
AFTER_4 = {"last": 4, "best": 4, "best-policy": 4, "best-value": 3}


def _links(run: Path) -> dict[str, int]:
    links = (path for path in run.iterdir() if path.is_symlink())
    return {
        link.name: int(link.readlink().name[6:10])
        for link in links
        if not link.name.startswith(".")
    }


def _check(run: Path) -> int:
    """Look at a run after a cut, go on with it, and tell the epoch it goes on from."""
    assert load_checkpoint(run).state["epoch"] in (1, 4)  # as `evaluate` reads it
    for link in _links(run):
        verify_manifest((run / link).resolve())
    for path in run.glob("epoch-*"):
        verify_manifest(path.resolve())  # no half one under its name
    point = find_resume_point(str(run), run.parent)
    assert point.skipped == ()
    state = state_after_a_step()
    restore(state, point.folder, PolicyValueMetrics)
    assert go_on_from(point, state, KEEP) == []
    assert _links(run) == (AFTER_4 if state.epoch == 4 else AFTER_3)
    assert not list(run.glob(".*"))
    return state.epoch


def _copy(before: Path, run: Path) -> None:
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(before, run, symlinks=True, copy_function=os.link)


def test_a_save_is_cut_at_every_call(processes, memory_folder):
    before, run = memory_folder / "before", memory_folder / "run"
    save_epochs(str(before), "3")
    assert _links(before) == AFTER_3
    job = {"call": "checkpoint_jobs:save_epochs", "arguments": [str(run), "4"]}
    epochs: list[int] = []
    while True:
        _copy(before, run)
        code, text = processes.run(
            memory_folder, killed(len(epochs) + 1, "/run"), **job
        )
        epochs.append(_check(run))
        if code == 0:
            break
        assert code == -9, text
        if len(epochs) % 5 == 0:  # and once more: the same state is saved anew
            _copy(before, run)
            processes.run(memory_folder, killed(len(epochs), "/run"), **job)
            assert processes.run(memory_folder, **job)[0] == 0
            assert _links(run) == AFTER_4
    assert len(epochs) > 40
    assert epochs == sorted(epochs)  # once it is there, it stays
    assert set(epochs) == {3, 4}


def test_everything_is_on_disk_before_it_is_relied_on(processes, memory_folder):
    """The order of the calls, for a machine that loses power: flush, then rename."""
    run = memory_folder / "run"
    save_epochs(str(run), "3")
    log = memory_folder / "calls"
    arguments = [str(run), "4"]
    code, text = processes.run(
        memory_folder,
        call="checkpoint_jobs:save_epochs",
        arguments=arguments,
        log=str(log),
    )
    assert code == 0, text
    calls = [
        (int(kind), path)
        for kind, path in (line.split(" ", 1) for line in log.read_text().splitlines())
        if path.startswith(str(run))
    ]
    temporary = next(path for _, path in calls if path.endswith(".partial"))
    final = run / Path(temporary).name[1:].removesuffix(".partial")
    renamed = calls.index((RENAME, str(final)))
    inside = [i for i, (_, path) in enumerate(calls) if path.startswith(temporary)]
    assert max(inside) < renamed
    sealed = _last(calls, RENAME, f"{temporary}/{MANIFEST}")
    names = {path.name for path in final.iterdir()} - {MANIFEST}
    assert len(names) == 4
    first = min(i for i in inside if calls[i][0] == SYNC)
    for path in (f"{temporary}/{name}" for name in names):
        assert first <= _last(calls, SYNC, path) < sealed
    others = (i for i in inside if calls[i][0] == WRITE and MANIFEST not in calls[i][1])
    assert max(others) < first
    (manifest,) = {path for _, path in calls if f"{temporary}/.{MANIFEST}." in path}
    assert _last(calls, WRITE, manifest) < _last(calls, SYNC, manifest) < sealed
    assert sealed < _last(calls, SYNC, temporary) < renamed
    after = calls[renamed + 1 :]
    assert after[0] == (SYNC, str(run))
    moved = [i for i, (kind, _) in enumerate(after) if kind == RENAME]
    links = [name for name, epoch in AFTER_4.items() if epoch == 4]
    assert [after[i][1] for i in moved[:3]] == [f"{run}/{name}" for name in links]
    removed = [i for i, (_, path) in enumerate(after) if ".removed" in path]
    assert (SYNC, str(run)) in after[moved[2] : min(removed)]


def _last(calls: list[tuple[int, str]], kinds: int, path: str) -> int:
    return max(i for i, (kind, p) in enumerate(calls) if kind & kinds and p == path)


@pytest.mark.parametrize("epochs", [1, 2, len(LOSSES)])
def test_the_jobs_save_what_they_say(tmp_path, epochs):
    save_epochs(str(tmp_path / "run"), str(epochs))
    assert _links(tmp_path / "run")["last"] == epochs
