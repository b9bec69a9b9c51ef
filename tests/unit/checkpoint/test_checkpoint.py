"""Checkpoints: complete or not there, verified on reading, rebuilt from themselves."""

import json
import os
from pathlib import Path

import pytest
import torch

from maou.checkpoint.load import find_checkpoint, load_checkpoint
from maou.checkpoint.manifest import MANIFEST, seal
from maou.checkpoint.save import MODEL, OPTIMIZER, RANDOM, STATE, save_checkpoint
from maou.errors import CheckpointError
from maou.train.state import TrainState
from training_states import SIZES, state_after_a_step

FILES = {MODEL, OPTIMIZER, RANDOM, STATE, MANIFEST}


@pytest.fixture
def state() -> TrainState:
    return state_after_a_step()


def test_round_trip_gives_the_same_network(tmp_path, state):
    folder = save_checkpoint(tmp_path, state, {"seed": 0}, ["total"])
    assert {path.name for path in folder.iterdir()} == FILES
    loaded = load_checkpoint(folder)
    assert loaded.network.config == SIZES
    assert not loaded.network.training
    saved = state.network.state_dict()
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, saved[name]), name
    assert loaded.state["step"] == 1
    assert loaded.state["settings"] == {"seed": 0}


def test_optimizer_state_is_saved_by_parameter_name(tmp_path, state):
    from safetensors.torch import load_file

    folder = save_checkpoint(tmp_path, state, {})
    tensors = load_file(folder / OPTIMIZER)
    names = [name for name, _ in state.network.named_parameters()]
    assert {key.split("/", 1)[1] for key in tensors} == set(names)
    kinds = {key.split("/", 1)[0] for key in tensors}
    assert kinds == {"exp_avg", "exp_avg_sq", "step"}
    named = dict(state.network.named_parameters())
    for name in names:
        expected = state.optimizer.state[named[name]]["exp_avg"]
        assert torch.equal(tensors[f"exp_avg/{name}"], expected)


def test_links_move_and_unnamed_checkpoints_go(tmp_path, state):
    first = save_checkpoint(tmp_path, state, {}, ["total"])
    state.epoch, state.step = 2, 2
    second = save_checkpoint(tmp_path, state, {})
    state.epoch, state.step = 3, 3
    third = save_checkpoint(tmp_path, state, {})
    assert (tmp_path / "best").resolve() == first.resolve()
    assert (tmp_path / "last").resolve() == third.resolve()
    assert not second.exists()
    assert find_checkpoint(tmp_path).resolve() == first.resolve()
    assert not (tmp_path / "best").readlink().is_absolute()


@pytest.mark.parametrize("name", sorted(FILES - {MANIFEST}))
@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_damage_is_found_and_named(tmp_path, state, name, damage):
    folder = save_checkpoint(tmp_path, state, {}, ["total"])
    path = folder / name
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data[:-1] if damage == "cut" else data)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        load_checkpoint(folder)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"files": {"x": 1}}', "\0"])
def test_damaged_manifest_is_an_error(tmp_path, state, text):
    folder = save_checkpoint(tmp_path, state, {}, ["total"])
    (folder / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match=MANIFEST):
        load_checkpoint(folder)


def test_a_folder_without_manifest_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="not a checkpoint folder"):
        load_checkpoint(tmp_path)


def _rewrite_state(folder: Path, **changes: object) -> None:
    state = json.loads((folder / STATE).read_text())
    state.update(changes)
    (folder / STATE).write_text(json.dumps(state))
    seal(folder)


def test_foreign_versions_and_labels_are_refused(tmp_path, state):
    folder = save_checkpoint(tmp_path, state, {}, ["total"])
    _rewrite_state(folder, format_version=99)
    with pytest.raises(CheckpointError, match="format version 99"):
        load_checkpoint(folder)
    _rewrite_state(folder, format_version=1, label_scheme="other")
    with pytest.raises(CheckpointError, match="policy labels other"):
        load_checkpoint(folder)


def test_weights_that_do_not_fit_are_listed(tmp_path, state):
    folder = save_checkpoint(tmp_path, state, {}, ["total"])
    model = json.loads((folder / STATE).read_text())["model"]
    _rewrite_state(folder, model={**model, "resnet_channels": 16, "resnet_blocks": 2})
    with pytest.raises(CheckpointError, match=r"Missing: .*stages.*Other shapes"):
        load_checkpoint(folder)


@pytest.mark.parametrize("call", range(1, 8))
def test_a_failing_disk_leaves_the_old_checkpoint(tmp_path, state, monkeypatch, call):
    """Each fsync in turn fails: the links still name a checkpoint that verifies."""
    save_checkpoint(tmp_path, state, {}, ["total"])
    before = (tmp_path / "best").readlink()
    state.epoch, state.step = 2, 2
    real, calls = os.fsync, 0

    def failing(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path, state, {}, ["total"])
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "best").state["step"] in {1, 2}
    if call <= 5:
        assert (tmp_path / "best").readlink() == before
    saved = save_checkpoint(tmp_path, state, {}, ["total"])
    assert load_checkpoint(tmp_path).state["step"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {saved.name, "best", "last"}
