"""Bundles and checkpoints that were edited and sealed anew: one message, exit code 2.

The manifest agrees with the files, so what the files say has to be looked at.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from maou.checkpoint.manifest import MANIFEST, seal
from maou.cli.main import run

TINY = ("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8")
TINY += ("--no-export-onnx", "--epoch", "2", "--batch-size", "40")
TINY += ("--checkpoint-interval", "1steps", "--keep", "all")
DIVERGING = ("--optimizer", "sgd", "--learning-ratio", "1e30", "--lr-scheduler", "none")


def _learn(folder: Path, *arguments: object) -> int:
    places = ("--model-dir", folder / "m", "--log-dir", folder / "l")
    return run(["learn-model", *map(str, (*TINY, *places, *arguments))])


@pytest.fixture(scope="module")
def runs(tmp_path_factory, selfplay_rows) -> Path:
    """A run that broke, one of preprocess records that did, and a whole one."""
    root = tmp_path_factory.mktemp("runs")
    rows = root / "games.hcpe"
    rows.write_bytes(selfplay_rows[:300].tobytes())
    words = ("pre-process", "--workers", "1", "--input-path", rows)
    assert run([*map(str, words), "--output-dir", str(root / "soft")]) == 0
    soft = ("--input-format", "preprocess", "--input-file-packed")
    assert _learn(root / "hard", *DIVERGING, "--input-path", rows) == 1
    assert _learn(root / "soft", *DIVERGING, *soft, "--input-path", root / "soft") == 1
    assert _learn(root / "whole", "--input-path", rows) == 0
    return root


def _copy(runs: Path, kind: str, pattern: str, tmp_path: Path) -> Path:
    (found,) = runs.glob(f"{kind}/m/*/{pattern}")
    name = Path(found.parent.name, found.name)
    shutil.copytree(found, tmp_path / name)
    return tmp_path / name


def _edit(path: Path, *keys: str, value: Any) -> None:
    """Change a value of a JSON file, and seal its folder anew."""
    whole = inner = json.loads(path.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(whole))
    _seal(path.parent)


def _seal(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    seal(folder)


def _refused(capfd, *words: object) -> str:
    capfd.readouterr()
    assert run(list(map(str, words))) == 2
    said = capfd.readouterr().err
    assert said.count("Error: ") == 1
    assert len(said.split("Error: ")[1]) < 1000
    assert "unexpected" not in said
    assert "a bug in maou" not in said
    return said


def _threads(count: int) -> None:
    raise AssertionError(f"{count} threads of torch")


BROKEN = [
    *(("threads", count) for count in (0, -1, 1025, 100_000, 10**12, 2.5, True)),
    *(("device", name) for name in ("meta", "", "x" * 10_000, 3)),
    *(("precision", name) for name in ("fp64", "", "auto", [])),
    *(
        (name, value)
        for name in ("step", "epoch")
        for value in (-1, 1e400, "1", 10**99)
    ),
    *(("batches", value) for value in ([], [3], [{"kind": "FlagBatch", "rows": 40}])),
]


@pytest.mark.parametrize(("key", "value"), BROKEN)
def test_what_a_bundle_says(runs, tmp_path, capfd, monkeypatch, key, value):
    monkeypatch.setattr(torch, "set_num_threads", _threads)
    bundle = _copy(runs, "hard", "broken-*", tmp_path)
    _edit(bundle / "broken.json", key, value=value)
    said = _refused(capfd, "utility", "replay", bundle)
    assert f"{bundle}: not a readable bundle" in said


def test_a_loss_that_no_float_holds(runs, tmp_path, capfd):
    bundle = _copy(runs, "hard", "broken-*", tmp_path)
    _edit(bundle / "broken.json", "found", "losses", value={"a": "0x1p99999"})
    assert "not a readable bundle" in _refused(capfd, "utility", "replay", bundle)


STATE = [
    *((("settings",), value) for value in (3, None, [], "x", {})),
    (("settings", "model", "resnet_blocks"), 10**9),
    (("settings", "model", "resnet_channels"), 10**9),
    *((("micro_batch",), value) for value in (0, -1, 1.5)),
    (("settings", "checkpoint", "keep"), f"best,last:{'9' * 5000}"),
    (("settings", "checkpoint", "checkpoint_interval"), f"{'9' * 5000}steps"),
]


@pytest.mark.parametrize(("keys", "value"), STATE)
def test_the_state_of_a_bundle_or_checkpoint(runs, tmp_path, capfd, keys, value):
    bundle = _copy(runs, "hard", "broken-*", tmp_path)
    saved = _copy(runs, "whole", "epoch-0000-step-00000002", tmp_path)
    for folder in (bundle, saved):
        _edit(folder / "state.json", *keys, value=value)
    _refused(capfd, "utility", "replay", bundle)
    _refused(capfd, "learn-model", "--resume-from", saved, "--log-dir", tmp_path / "l")


def test_batches_of_another_stage_than_the_settings(runs, tmp_path, capfd):
    bundle = _copy(runs, "hard", "broken-*", tmp_path)
    _edit(bundle / "state.json", "settings", "stages", "stage", value="1")
    _edit(bundle / "state.json", "settings", "stage", value=1)
    said = _refused(capfd, "utility", "replay", bundle)
    assert "holds batches of another stage" in said


def test_a_network_of_no_end_is_not_built(runs, tmp_path, capfd):
    saved = _copy(runs, "whole", "epoch-0000-step-00000002", tmp_path)
    _edit(saved / "state.json", "settings", "model", "resnet_blocks", value=10**9)
    again = ("learn-model", "--resume-from", saved, "--log-dir", tmp_path / "l")
    said = _refused(capfd, *again)
    assert "1000000000 layers, but the file holds" in said


COUNTERS = [
    *(("batches", value) for value in (0, 10**6, 10**18, -1, 1.5)),
    *(("step", value) for value in (0, 10**9, -1)),
    *(("epoch", value) for value in (1, 10**9)),
    *(("ahead", value) for value in (99, 10**18, -1)),
]


@pytest.mark.parametrize(("key", "value"), COUNTERS)
def test_counters_that_contradict_the_run(runs, tmp_path, capfd, key, value):
    saved = _copy(runs, "whole", "epoch-0000-step-00000002", tmp_path)
    _edit(saved / "state.json", key, value=value)
    newer = tmp_path / saved.parent.name / "epoch-0009-step-00000099"
    shutil.copytree(saved, newer)
    for words in ((), ("--dry-run",)):
        again = ("learn-model", "--resume-from", saved, "--log-dir", tmp_path / "l")
        assert str(saved) in _refused(capfd, *again, *words)
    assert newer.is_dir()  # nothing was set aside


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "another type": lambda tensor: tensor.float(),
    "another shape": lambda tensor: tensor.reshape(1, -1),
    "empty": lambda tensor: tensor[:0],
    "cut": lambda tensor: tensor[:-1],
    "too large": lambda tensor: torch.full_like(tensor, 100),
    "negative": lambda tensor: torch.full_like(tensor, 255),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("kind", "name"),
    [("hard", "0.buffer"), ("soft", "0.positions"), ("soft", "0.moves")],
)
def test_the_batches_of_a_bundle(runs, tmp_path, capfd, kind, name, change):
    bundle = _copy(runs, kind, "broken-*", tmp_path)
    path = bundle / "batches.safetensors"
    tensors = load_file(path)
    tensors[name] = CHANGES[change](tensors[name]).contiguous()
    save_file(tensors, path)
    _seal(bundle)
    if (name, change) == ("0.moves", "empty"):
        assert run(["utility", "replay", str(bundle)]) in (0, 1)  # it is only untrue
        return
    said = _refused(capfd, "utility", "replay", bundle)
    assert f"{bundle}: not a readable bundle" in said
