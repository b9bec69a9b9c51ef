"""Which checkpoints a run keeps, and what its links name, whatever happened before."""

import json
import shutil
from pathlib import Path

import pytest

from maou.checkpoint.config import CheckpointConfig, Keep
from maou.checkpoint.folders import LAST, STATE, checkpoints_in
from maou.checkpoint.resume import (
    find_resume_point,
    go_on_from,
    require_newest,
    restore,
)
from maou.checkpoint.save import save_checkpoint
from maou.errors import CheckpointError, ConfigError, TrainingError
from maou.train.metrics import PolicyValueMetrics
from maou.train.state import TrainState
from training_states import BEST_BY, end_epoch, state_after_a_step

DEFAULT = CheckpointConfig().kept
RECORD = {"stage": 3, "data_fingerprint": ""}
LOSSES = ((3.0, 3.0), (2.0, 4.5), (4.0, 2.5), (5.0, 5.0), (6.0, 6.0))
"""Total: epoch 1. Policy: epoch 2. Value: epoch 3. Then nothing is the best."""


def _train(run: Path, state: TrainState, losses, keep: Keep = DEFAULT) -> None:
    for policy, value in losses:
        best = end_epoch(state, policy, value)
        save_checkpoint(run, state, RECORD, best, keep=keep)


def _epochs(run: Path) -> list[int]:
    return sorted(int(path.name[6:10]) for path in checkpoints_in(run))


def _links(run: Path) -> dict[str, int]:
    links = (path for path in run.iterdir() if path.is_symlink())
    return {link.name: int(link.readlink().name[6:10]) for link in links}


def _begin() -> TrainState:
    return state_after_a_step(epoch=0, step=0)


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("best,best-per-head,last:1", [1, 2, 3, 5]),
        ("best,best-per-head,last:2", [1, 2, 3, 4, 5]),
        ("best", [1, 5]),
        ("last:2,best", [1, 4, 5]),
        ("best-per-head", [1, 2, 3, 5]),
        ("all", [1, 2, 3, 4, 5]),
    ],
)
def test_what_is_kept(tmp_path, keep, kept):
    asked = CheckpointConfig(keep=keep).kept
    _train(tmp_path, _begin(), LOSSES, asked)
    assert _epochs(tmp_path) == kept
    named = {"last": 5, "best": 1}
    if asked.heads:
        named |= {"best-policy": 2, "best-value": 3}
    assert _links(tmp_path) == named


@pytest.mark.parametrize("keep", ["", "last:3", "best,last:0", "newest", "best last"])
def test_what_cannot_be_kept(keep):
    with pytest.raises(ConfigError, match="--keep"):
        CheckpointConfig(keep=keep)


def test_what_the_newest_would_go_back_to_is_kept(tmp_path):
    """Of two that are kept, the older one's best is kept too: it can be resumed."""
    keep = Keep(heads=False, last=2)
    _train(tmp_path, _begin(), [(3, 3), (4, 4), (2, 2)], keep)
    assert _epochs(tmp_path) == [1, 2, 3]
    assert _links(tmp_path) == {"last": 3, "best": 3}


def _go_on(run: Path, path: Path, keep: Keep = DEFAULT) -> tuple[TrainState, list[str]]:
    point = find_resume_point(str(path), run.parent)
    state = _begin()
    restore(state, point.folder, PolicyValueMetrics)
    return state, go_on_from(point, state, keep)


def test_going_back_sets_newer_ones_aside(tmp_path):
    run = tmp_path / "run"
    _train(run, _begin(), [*LOSSES, (1.0, 1.0)], Keep(last=None))
    assert _links(run)["best"] == 6
    older = next(path for path in checkpoints_in(run) if "epoch-0004" in path.name)
    state, notes = _go_on(run, older)
    assert state.epoch == 4
    assert _epochs(run) == [1, 2, 3, 4]
    assert _links(run) == {"last": 4, "best": 1, "best-policy": 2, "best-value": 3}
    assert len(notes) == 2
    assert sorted(path.name[:20] for path in run.glob("abandoned-*")) == [
        "abandoned-epoch-0005",
        "abandoned-epoch-0006",
    ]
    assert find_resume_point(str(run), tmp_path).folder == run / older.name
    _train(run, state, [(7, 7)])
    assert _links(run) == {"last": 5, "best": 1, "best-policy": 2, "best-value": 3}


def test_copies_beside_checkpoints_are_left_alone(tmp_path):
    run = tmp_path / "run"
    _train(run, _begin(), LOSSES[:3], Keep(last=None))
    newest, middle, _ = checkpoints_in(run)
    copies = [run / f"{newest.name}.bak", run / f"{middle.name}-good"]
    for copy in copies:
        shutil.copytree(middle, copy)
    assert checkpoints_in(run)[0] == newest
    assert find_resume_point(str(run), tmp_path).folder == newest
    state, _ = _go_on(run, run, Keep(heads=False))
    _train(run, state, [(1, 1)], Keep(heads=False))
    assert _epochs(run) == [4]
    assert all(copy.is_dir() for copy in copies)


def test_a_copy_that_is_named_is_gone_on_from(tmp_path):
    run = tmp_path / "run"
    _train(run, _begin(), LOSSES[:4], Keep(last=None))
    older = checkpoints_in(run)[2]
    copy = run / f"{older.name}-good"
    older.rename(copy)
    state, notes = _go_on(run, copy)
    assert state.epoch == 2
    assert len(notes) == 2  # the newer ones, set aside
    assert _epochs(run) == [1]
    assert copy.is_dir()


def test_steps_are_compared_as_numbers(tmp_path):
    for name in ("epoch-9999-step-99999999", "epoch-10000-step-100000000"):
        (tmp_path / name).mkdir()
    for name in ("epoch-1-step-2", "epoch-0001-step-0000000x", "epoch-0001-step-"):
        (tmp_path / name).mkdir()
    found = [path.name for path in checkpoints_in(tmp_path)]
    assert found == ["epoch-10000-step-100000000", "epoch-9999-step-99999999"]


def test_what_was_saved_since_it_was_looked_for_is_not_set_aside(tmp_path):
    run = tmp_path / "run"
    state = _begin()
    _train(run, state, LOSSES[:1])
    for path in (run, run / LAST):
        point = find_resume_point(str(path), tmp_path)
        require_newest(point)
        _train(run, state, LOSSES[1:2])
        with pytest.raises(
            TrainingError, match="another process trained here"
        ) as error:
            require_newest(point)
        assert str(checkpoints_in(run)[0].name) in str(error.value)


@pytest.mark.parametrize("named", [".", "..", "RUN/stage2", "stage2", "linked"])
def test_the_run_of_a_stage_is_the_one_above_it(tmp_path, monkeypatch, named):
    run = tmp_path / "run"
    stage = run / "stage2"
    _train(stage, _begin(), LOSSES[:1])
    (stage / "inside").mkdir()
    (tmp_path / "linked").symlink_to(stage)
    places = {".": stage, "..": stage / "inside", "stage2": run, "linked": tmp_path}
    monkeypatch.chdir(places.get(named, tmp_path))
    point = find_resume_point(named.replace("RUN", "run"), tmp_path)
    assert point.run_folder.name == "run"
    assert point.run_folder.samefile(run)


def test_links_that_a_crash_left_behind_are_mended(tmp_path):
    run = tmp_path / "run"
    _train(run, _begin(), LOSSES[:3], Keep(last=None))
    first = checkpoints_in(run)[-1].name
    for name in ("last", "best-policy", "best-value"):
        (run / name).unlink()
        (run / name).symlink_to(first)
    (run / "best").unlink()
    (run / ".best.partial").symlink_to(first)
    (run / ".epoch-0009-step-00000090.partial").mkdir()
    shutil.copytree(run / first, run / f".{first}.removed")
    _, notes = _go_on(run, run)
    assert notes == []
    assert _links(run) == {"last": 3, "best": 1, "best-policy": 2, "best-value": 3}
    assert not list(run.glob(".*"))


@pytest.fixture
def copied(tmp_path) -> Path:
    """A run that was copied with its links followed."""
    _train(tmp_path / "run", _begin(), LOSSES[:3])
    _train(tmp_path / "run" / "stage1", _begin(), LOSSES[:2])
    shutil.copytree(tmp_path / "run", tmp_path / "copied")
    assert _links(tmp_path / "copied") == {}
    return tmp_path / "copied"


def test_a_run_that_was_copied_with_links_followed(copied):
    state, notes = _go_on(copied, copied)
    assert (state.epoch, notes) == (3, [])
    expected = {"last": 3, "best": 1, "best-policy": 2, "best-value": 3}
    assert _links(copied) == expected
    assert _links(copied / "stage1") == {
        "last": 2,
        "best": 1,
        "best-policy": 2,
        "best-value": 1,
    }
    assert _epochs(copied) == [1, 2, 3]
    assert not list(copied.rglob(".*"))


@pytest.mark.parametrize("what", ["changed", "another file", "lone", "damaged"])
def test_a_folder_where_a_link_belongs(copied, what):
    """It is removed only if nothing is lost with it."""
    best = copied / "best"
    origin = checkpoints_in(copied)[-1]
    if what == "changed":
        (best / "model.safetensors").write_bytes(b"mine")
    elif what == "another file":
        (best / "notes.txt").write_text("mine")
    elif what == "lone":
        shutil.rmtree(origin)
    else:
        (origin / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"/best: a folder.*move it away"):
        _go_on(copied, copied)
    assert best.is_dir()
    assert (copied / "last").is_dir()
    best.rename(copied / "mine")
    _go_on(copied, copied)
    assert _links(copied)["last"] == 3


def test_a_best_that_somebody_removed_is_chosen_anew(tmp_path):
    run = tmp_path / "run"
    _train(run, _begin(), LOSSES[:2])
    shutil.rmtree((run / "best").resolve())
    state, notes = _go_on(run, run)
    assert "chosen anew" in notes[0]
    assert {by: best.epoch for by, best in state.best.items()} == {
        "total": 2,
        "policy": 2,
        "value": 2,
    }
    assert _links(run) == {"last": 2, "best": 2, "best-policy": 2, "best-value": 2}


def test_a_later_stage_is_set_aside_with_its_earlier_one(tmp_path):
    run = tmp_path / "run"
    for stage in ("stage1", "stage2"):
        _train(run / stage, _begin(), LOSSES[:1])
    _train(run, _begin(), LOSSES[:1])
    state, notes = _go_on(run, run / "stage1" / LAST)
    assert state.epoch == 1
    assert len(notes) == 2
    assert find_resume_point(str(run), tmp_path).folder.parent.name == "stage1"


def test_latest_is_the_run_that_began_or_saved_last(tmp_path):
    for name in ("a", "b"):
        _train(tmp_path / name, _begin(), LOSSES[:1])
    assert find_resume_point("latest", tmp_path).run_folder == tmp_path / "b"
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "run.toml").write_text("")
    point = find_resume_point("latest", tmp_path)
    assert (point.run_folder, point.folder) == (tmp_path / "c", None)


def test_state_names_the_step_of_the_best(tmp_path):
    _train(tmp_path, _begin(), LOSSES[:2])
    best = json.loads((tmp_path / LAST / STATE).read_text())["best"]
    assert {by: entry["step"] for by, entry in best.items()} == {
        "total": 10,
        "policy": 20,
        "value": 10,
    }


def test_a_best_that_is_gone_where_no_epoch_follows(tmp_path):
    """Within an epoch there is nothing to choose from: refused, and nothing changed."""
    run = tmp_path / "run"
    state = _begin()
    _train(run, state, LOSSES[:1])
    state.step, state.batches = state.step + 1, 1
    for _ in range(2):
        save_checkpoint(run, state, RECORD, keep=Keep(last=None))
        state.step += 1
    shutil.rmtree((run / "best").resolve())
    older = checkpoints_in(run)[1]
    before = sorted(run.iterdir())
    point = find_resume_point(str(older), tmp_path)
    state = _begin()
    restore(state, point.folder, PolicyValueMetrics)
    with pytest.raises(
        CheckpointError, match="the best checkpoint so far is no longer"
    ):
        go_on_from(point, state, DEFAULT, BEST_BY)
    assert sorted(run.iterdir()) == before
    _, notes = _go_on(run, older)  # with more epochs, one is chosen
    assert "chosen anew" in notes[-1]


def test_an_interval_of_absurdly_many_digits():
    """More digits than Python turns into a number."""
    digits = "9" * 5000
    for bad in (f"{digits}steps", f"1.{digits}s"):
        with pytest.raises(ConfigError, match=r"999\.\.\.: not a time"):
            CheckpointConfig(checkpoint_interval=bad)
    with pytest.raises(ConfigError, match="is not best, best-per-head"):
        CheckpointConfig(keep=f"best,last:{digits}")
