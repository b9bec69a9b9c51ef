"""Part files and starting from them: every kind of source, and what does not fit."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from maou.checkpoint.config import WarmStartConfig
from maou.checkpoint.load import load_checkpoint
from maou.checkpoint.manifest import verify_manifest
from maou.checkpoint.save import MODEL, save_checkpoint
from maou.checkpoint.warm_start import warm_start
from maou.errors import CheckpointError
from maou.model.config import ModelConfig
from maou.model.network import Network, build_network
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer
from maou.train.state import TrainState

SIZES = ModelConfig(resnet_blocks=2, resnet_channels=8)
OTHER = ModelConfig(
    model_architecture="vit", vit_embed_dim=8, vit_num_layers=1, vit_num_heads=2
)
PARTS = ("backbone", "policy_head", "value_head")


def network_of(seed: int, config: ModelConfig = SIZES) -> Network:
    torch.manual_seed(seed)
    network = build_network(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter))
    return network


def saved(run: Path, network: Network) -> Path:
    optimizer = build_optimizer(network.named_parameters(), OptimConfig())
    state = TrainState(network, optimizer, epoch=1, step=1)
    return save_checkpoint(run, state, {}, ["total"], split=True)


@pytest.fixture
def source(tmp_path: Path) -> tuple[Network, Path]:
    """A network, and its checkpoint in the folder of a run."""
    network = network_of(1)
    return network, saved(tmp_path / "run", network)


def sources(network: Network, folder: Path, part: str) -> dict[str, Path]:
    """Write every kind of file that a part can be read from."""
    tensors = network.get_submodule(part).state_dict()
    whole, own = folder.parent / "whole.pt", folder.parent / "part.pth"
    torch.save(network.state_dict(), whole)
    torch.save(dict(tensors), own)
    bare = folder.parent / "bare.safetensors"
    save_file(dict(tensors), bare)
    return {
        "part file": folder / f"{part}.safetensors",
        "network": folder / MODEL,
        "checkpoint": folder,
        "run": folder.parent,
        "whole .pt": whole,
        "part .pth": own,
        "without header": bare,
    }


@pytest.mark.parametrize("part", PARTS)
def test_every_source_fills_its_part_and_no_other(source, part):
    network, folder = source
    for kind, path in sources(network, folder, part).items():
        ours = network_of(2)
        before = {key: tensor.clone() for key, tensor in ours.state_dict().items()}
        warm_start(ours, WarmStartConfig(**{f"resume_{part}_from": path}))
        theirs = network.state_dict()
        for key, tensor in ours.state_dict().items():
            expected = theirs if key.startswith(f"{part}.") else before
            assert torch.equal(tensor, expected[key]), (kind, key)


def test_parts_are_in_the_manifest_and_say_what_they_are(source):
    network, folder = source
    for part in PARTS:
        path = folder / f"{part}.safetensors"
        with safe_open(path, framework="pt") as file:
            said = json.loads(file.metadata()["maou"])
            names = set(file.keys())
        assert said["part"] == part
        assert said["model"]["resnet_channels"] == 8
        assert names == set(network.get_submodule(part).state_dict())
    assert load_checkpoint(folder).network.config == SIZES
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"value_head\.safetensors"):
        verify_manifest(folder)


def test_parts_are_the_same_bytes_every_time(tmp_path, source):
    network, folder = source
    again = saved(tmp_path / "again", network)
    for part in PARTS:
        name = f"{part}.safetensors"
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_other_sizes_are_listed(source):
    _, folder = source
    small = network_of(2, ModelConfig(resnet_blocks=1, resnet_channels=8))
    before = {key: tensor.clone() for key, tensor in small.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        warm_start(small, WarmStartConfig(resume_backbone_from=folder))
    message = str(error.value)
    assert message.startswith(f"--resume-backbone-from {folder}: does not fit the back")
    assert "Missing: none" in message
    assert "trunk.stages.1.blocks.0.conv1.weight" in message
    assert all(torch.equal(t, before[key]) for key, t in small.state_dict().items())
    wide = network_of(2, ModelConfig(resnet_blocks=2, resnet_channels=16))
    path = folder / "policy_head.safetensors"
    with pytest.raises(CheckpointError, match=r"classes\.weight is \[27, 8, 1, 1\], n"):
        warm_start(wide, WarmStartConfig(resume_policy_head_from=path))


def test_another_architecture_is_named_and_its_names_are_listed(tmp_path, source):
    folder = saved(tmp_path / "vit", network_of(3, OTHER))
    for path in (folder, folder / "backbone.safetensors"):
        with pytest.raises(CheckpointError) as error:
            warm_start(source[0], WarmStartConfig(resume_backbone_from=path))
        message = str(error.value)
        assert "the backbone of this resnet network (the file is of a vit" in message
        assert "Missing: trunk.stages.0" in message
        assert "Unexpected: trunk.blocks.0.attention" in message


def test_another_part_is_named(source):
    network, folder = source
    path = folder / "value_head.safetensors"
    with pytest.raises(CheckpointError, match="holds a value_head, not a policy_head"):
        warm_start(network, WarmStartConfig(resume_policy_head_from=path))


def test_a_damaged_checkpoint_is_refused(source):
    network, folder = source
    path = folder / MODEL
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"--resume-value-head-from .*damaged"):
        warm_start(network, WarmStartConfig(resume_value_head_from=folder))


class _Opens:
    """What a pickle must never be allowed to do."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("pickle-was-run", "w")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.safetensors", b"", "not a safetensors file"),
        ("x.safetensors", b"\x08" + b"\0" * 7 + b"nonsense", "not a safetensors file"),
        ("x.pt", b"", "not a file of plain tensors"),
        ("x.pt", b"no pickle", "not a file of plain tensors"),
        ("x.pt", {"step": 3}, "not tensors by name"),
        ("x.pt", _Opens(), "not a file of plain tensors"),
        ("x.pt", {}, "Missing: "),
        ("absent", None, "no such file or folder"),
    ],
)
def test_other_files_are_refused(tmp_path, monkeypatch, name, content, says):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=says) as error:
        warm_start(network_of(1), WarmStartConfig(resume_backbone_from=path))
    assert str(error.value).startswith(f"--resume-backbone-from {path}")
    assert not (tmp_path / "pickle-was-run").exists()


def test_labels_of_another_scheme_are_refused(tmp_path):
    network = network_of(1)
    path = tmp_path / "policy_head.safetensors"
    header = {"maou": json.dumps({"part": "policy_head", "label_scheme": "other"})}
    save_file(dict(network.policy_head.state_dict()), path, header)
    with pytest.raises(CheckpointError, match="policy labels other"):
        warm_start(network, WarmStartConfig(resume_policy_head_from=path))


def test_half_precision_is_taken_over_as_float32(tmp_path):
    network = network_of(1)
    tensors = {k: v.half() for k, v in network.value_head.state_dict().items()}
    save_file(tensors, tmp_path / "v.safetensors")
    ours = network_of(2)
    warm_start(ours, WarmStartConfig(resume_value_head_from=tmp_path / "v.safetensors"))
    for key, tensor in ours.value_head.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, tensors[key].float())
