"""`learn-model --resume-from`: what it goes on with, and what it refuses."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from maou.checkpoint import resume
from maou.checkpoint.lock import locked
from maou.cli.main import run

TINY = (
    *("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8"),
    "--no-export-onnx",
    *("--lr-scheduler", "none", "--batch-size", "50", "--health-interval", "1000"),
)


def _learn(capsys, *arguments: object) -> tuple[int, str]:
    code = run(["learn-model", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    return code, " ".join((captured.out + captured.err).split())


def _weights(folder: Path) -> str:
    data = (folder / "last" / "model.safetensors").read_bytes()
    return hashlib.sha256(data).hexdigest()


def _only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


@pytest.fixture
def work(tmp_path, selfplay_rows, monkeypatch) -> Path:
    """A folder with one hcpe shard, to run in."""
    (tmp_path / "games.hcpe").write_bytes(selfplay_rows[:600].tobytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def begun(work, capsys) -> Path:
    """A run of one epoch."""
    code, _ = _learn(capsys, *TINY, "--input-path", "games.hcpe", "--epoch", 1)
    assert code == 0
    return _only(work / "models")


@pytest.mark.parametrize("named", ["latest", "models/RUN/last"])
def test_two_epochs_in_two_runs_are_those_of_one(work, begun, capsys, named):
    whole = (*TINY, "--input-path", "games.hcpe", "--epoch", 2)
    code, _ = _learn(capsys, *whole, "--model-dir", "whole", "--log-dir", "whole-logs")
    assert code == 0
    path = named.replace("RUN", begun.name)
    code, text = _learn(capsys, "--resume-from", path, "--epoch", 2)
    assert code == 0, text
    assert list((work / "models").iterdir()) == [begun]  # the same run
    assert _weights(begun) == _weights(_only(work / "whole"))
    assert "before" in text
    lines = (work / "logs" / begun.name / "metrics.jsonl").read_text().splitlines()
    assert sum('"kind": "validation"' in line for line in lines) == 3


def test_a_place_that_a_run_does_not_go_to_is_named(work, begun, capsys):
    flags = ("--epoch", 2, "--model-dir", "elsewhere", "--dry-run")
    code, text = _learn(capsys, "--resume-from", begun, *flags)
    assert code == 0, text
    assert "--model-dir has no effect: a run goes on in its own folder" in text
    code, text = _learn(capsys, "--resume-from", "latest", *flags[:2], "--dry-run")
    assert code == 0, text
    assert "--model-dir" not in text


def test_contradicting_flags_are_shown_with_both_values(begun, capsys):
    code, text = _learn(
        capsys, "--resume-from", begun, "--batch-size", 25, "--optimizer", "sgd"
    )
    assert code == 2
    assert "--batch-size 25 (the run has 50)" in text
    assert "--optimizer sgd (the run has adamw)" in text


def test_settings_come_from_one_place(begun, capsys):
    config = begun / "run.toml"
    code, text = _learn(capsys, "--resume-from", begun, "--config", config)
    assert code == 2
    assert "--config and --resume-from" in text


def test_logs_that_are_not_where_the_command_is_given(work, begun, capsys, monkeypatch):
    """The folder of logs may be named relative to the folder that the run began in."""
    missing = "no earlier logs of this run in"
    data = ("--input-path", work / "games.hcpe")
    monkeypatch.chdir(begun)
    code, text = _learn(capsys, "--resume-from", ".", *data, "--epoch", 2)
    assert code == 0, text
    assert f"{missing} {begun / 'logs' / begun.name}" in text
    code, text = _learn(capsys, "--resume-from", ".", *data, "--epoch", 3)
    assert code == 0, text
    assert missing not in text


def test_changed_data_is_refused_unless_allowed(work, begun, selfplay_rows, capsys):
    (work / "games.hcpe").write_bytes(selfplay_rows[:500].tobytes())
    again = ("--resume-from", begun, "--epoch", 2)
    code, text = _learn(capsys, *again)
    assert code == 2
    assert "the data has changed" in text
    assert "--allow-changed-data" in text
    code, _ = _learn(capsys, *again, "--allow-changed-data")
    assert code == 0


@pytest.fixture
def cut(work, capsys) -> list[Path]:
    """Checkpoints after each step of a run of two epochs, in order."""
    every = ("--checkpoint-interval", "1steps", "--keep", "all", "--epoch", 2)
    code, text = _learn(capsys, *TINY, *every, "--input-path", "games.hcpe")
    assert code == 0, text
    return sorted(_only(work / "models").glob("epoch-*"))


def test_less_data_within_an_epoch(work, cut, selfplay_rows, capsys):
    (work / "games.hcpe").write_bytes(selfplay_rows[:350].tobytes())
    assert len(cut) > 15
    for path in (cut[len(cut) // 2 - 2], cut[6], cut[1]):
        again = ("--resume-from", path, "--allow-changed-data")
        code, text = _learn(capsys, *again)
        assert code == 0, text
        assert "validation after epoch 2" in text
        # What it saved goes on too, with the data as it is now.
        code, text = _learn(capsys, "--resume-from", path.parent, "--epoch", 3)
        assert code == 0, text


def test_a_dry_run_tries_the_checkpoint(work, cut, capsys):
    losses = set()
    for path in (cut[0], cut[-1]):  # the last is the end of an epoch
        code, text = _learn(capsys, "--resume-from", path, "--epoch", 3, "--dry-run")
        assert code == 0, text
        losses.add(text.partition("(loss ")[2].partition(",")[0])
    code, text = _learn(capsys, *TINY, "--input-path", "games.hcpe", "--dry-run")
    assert code == 0, text
    losses.add(text.partition("(loss ")[2].partition(",")[0])
    assert len(losses) == 3
    assert sorted(cut[0].parent.glob("epoch-*")) == cut


def test_fewer_epochs_without_the_best_checkpoint(work, cut, capsys):
    best = next(path for path in cut if path.name.startswith("epoch-0001"))
    shutil.rmtree(best)
    code, text = _learn(capsys, "--resume-from", cut[-2], "--epoch", 1)
    assert code == 2, text
    assert "the best checkpoint so far is no longer there. Give more epochs" in text
    assert cut[-1].is_dir()
    code, text = _learn(capsys, "--resume-from", cut[-2], "--epoch", 3)
    assert code == 0, text
    assert "the best is chosen anew" in text


def test_moved_data_is_the_same_data(work, begun, capsys):
    (work / "elsewhere").mkdir()
    (work / "games.hcpe").rename(work / "elsewhere" / "games.hcpe")
    moved = ("--input-path", "elsewhere/games.hcpe", "--epoch", 2)
    code, text = _learn(capsys, "--resume-from", begun, *moved)
    assert code == 0, text


def test_the_newest_sound_checkpoint_is_taken(begun, capsys):
    code, _ = _learn(capsys, "--resume-from", begun, "--epoch", 2)
    assert code == 0
    newest = (begun / "last").resolve()
    older = begun / "epoch-0001-step-00000001"
    shutil.copytree(newest, older)  # two of them, whatever was the best
    tensors = newest / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"?")
    code, text = _learn(capsys, "--resume-from", begun, "--epoch", 2)
    assert code == 0, text
    assert "skipped a checkpoint" in text
    assert "do not match the manifest" in text


def test_nothing_to_go_on_from(work, begun, capsys):
    for path in ("nowhere", "latest"):
        models = ("--model-dir", work / "empty")
        code, text = _learn(capsys, "--resume-from", path, *models)
        assert code == 2
        assert "no sound checkpoint" in text
    shutil.rmtree((begun / "last").resolve())
    code, text = _learn(capsys, "--resume-from", begun / "last")
    assert code == 2


def test_checkpoint_interval(work, capsys):
    base = (*TINY, "--input-path", "games.hcpe", "--epoch", 1)
    for bad in ("10", "0steps", "1.5steps", "10 parsecs", "-1min"):
        code, text = _learn(capsys, *base, "--checkpoint-interval", bad)
        assert code == 2
        assert "not a time" in text
    code, _ = _learn(capsys, *base, "--checkpoint-interval", "2steps")
    assert code == 0


def test_a_stage_below_its_threshold_goes_on(work, capsys):
    shards = ("--input-path", str(work / "games.hcpe"))
    assert run(["utility", "generate-stage1-data", "--output-dir", "s1"]) == 0
    assert run(["utility", "generate-stage2-data", *shards, "--output-dir", "s2"]) == 0
    assert run(["pre-process", *shards, "--output-dir", "p"]) == 0
    capsys.readouterr()
    code, text = _learn(
        capsys,
        *(*TINY, "--stage", "all", "--stage1-data-path", "s1"),
        *("--stage2-data-path", "s2", "--stage3-data-path", "p", "--epoch", 1),
        *("--input-file-packed", "--stage1-max-epochs", 1, "--stage1-threshold", 0.1),
        *("--stage2-max-epochs", 10, "--stage2-threshold", 1.0),
        *("--stage2-pos-weight", 20),
    )
    assert code == 1
    assert "below --stage2-threshold" in text
    folder = _only(work / "models")
    assert not (folder / "last").exists()
    code, text = _learn(capsys, "--resume-from", folder, "--stage2-threshold", 0.0001)
    assert code == 0, text
    assert (folder / "best" / "model.safetensors").exists()


@pytest.mark.parametrize("cloud_server", ["s3"], indirect=True)
def test_data_that_moved_to_a_store_and_back(work, store, selfplay_rows, capsys):
    """The source on the command line replaces the run's own as a whole."""
    (work / "shards").mkdir()
    for number in range(3):
        part = selfplay_rows[120 * number : 120 * (number + 1)]
        (work / "shards" / f"{number}.hcpe").write_bytes(part.tobytes())
    store.upload(work / "shards", "hcpe")
    local = ("--input-path", "shards")
    cloud = ("--input-s3", "--input-bucket-name", "positions", "--input-prefix", "sets")
    cloud += ("--input-data-name", "hcpe", "--input-local-cache-dir", "cache")
    code, text = _learn(
        *(capsys, *TINY, *local, "--epoch", 3),
        *("--model-dir", "whole", "--log-dir", "whole-logs"),
    )
    assert code == 0, text
    for number, source in enumerate((cloud, local, cloud), 1):
        begin = ("--resume-from", "latest") if number > 1 else TINY
        code, text = _learn(capsys, *begin, *source, "--epoch", number)
        assert code == 0, text
        assert "has no effect" not in text
    assert _weights(_only(work / "models")) == _weights(_only(work / "whole"))


def test_a_run_without_a_checkpoint_begins_again(work, begun, capsys):
    whole = _weights(begun)
    for path in begun.iterdir():
        if path.is_symlink():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
    code, text = _learn(capsys, "--resume-from", "latest")
    assert code == 0, text
    assert "has no checkpoint yet: it begins again" in text
    assert _weights(begun) == whole


def test_what_another_process_saved_meanwhile_is_not_set_aside(
    begun, capsys, monkeypatch
):
    """It ends between the moment its checkpoint is seen and that of the lock."""
    newest = (begun / "last").resolve()
    newer = begun / "epoch-0002-step-00000010"
    find = resume.find_resume_point

    def find_then_wait(path: str, model_dir: Path) -> resume.ResumePoint:
        point = find(path, model_dir)
        if not newer.exists():
            shutil.copytree(newest, newer)
        return point

    monkeypatch.setattr(resume, "find_resume_point", find_then_wait)
    code, text = _learn(capsys, "--resume-from", begun, "--epoch", 2)
    assert code == 1
    assert "another process trained here in the meantime" in text
    assert newer.name in text
    assert newer.is_dir()


def test_a_second_process_is_told_who_trains_here(begun, capsys):
    with locked(begun, tell=print):
        code, text = _learn(capsys, "--resume-from", begun, "--epoch", 2)
        assert code == 1
        assert f"another process trains here: process {os.getpid()} on" in text
        code, text = _learn(capsys, "--resume-from", begun, "--epoch", 2, "--dry-run")
        assert code == 0  # that writes nothing
    code, text = _learn(capsys, "--resume-from", begun, "--epoch", 2)
    assert code == 0, text
