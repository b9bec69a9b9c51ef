"""Exported models: the same numbers as the network, and what is refused."""

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import maou
from maou.errors import CheckpointError
from maou.export.interface import LABELS_KEY
from maou.export.onnx import export_onnx, verify_onnx
from maou.export.runtime import OnnxModel
from maou.model.config import ModelConfig
from maou.model.network import Network, build_network
from maou.shogi.samples import decode_samples

ROWS = np.fromfile(
    Path(__file__).parents[2] / "data" / "selfplay-256.hcpe", dtype=np.uint8
).reshape(-1, 38)
SAMPLES = decode_samples(ROWS)
BOARD_BS = torch.from_numpy(SAMPLES.board_BS)
HAND_BH = torch.from_numpy(SAMPLES.hand_BH)

Exported = tuple[Network, Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Export a network in training mode whose parameters are far from zero."""
    torch.manual_seed(4)
    network = build_network(ModelConfig(resnet_blocks=2, resnet_channels=32))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    before, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    path = tmp_path_factory.mktemp("export") / "new folder" / "model.onnx"
    export_onnx(network, path, metadata={"training.step": "1234"})
    assert network.training
    assert torch.equal(random, torch.get_rng_state())
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    return network, path


@pytest.mark.parametrize("count", [1, 2, 7, 256])
def test_equals_the_network_on_real_positions(exported: Exported, count: int) -> None:
    network, path = exported
    assert np.all(SAMPLES.status_B == 0)
    assert verify_onnx(path, network, BOARD_BS[:count], HAND_BH[:count]) < 1e-4


def test_verification_finds_a_difference(exported: Exported) -> None:
    network = copy.deepcopy(exported[0])
    with torch.no_grad():
        network.policy_head.label_bias_M[1200] += 0.01
    gap = verify_onnx(exported[1], network, BOARD_BS[:3], HAND_BH[:3])
    assert gap == pytest.approx(0.01, abs=1e-4)


def test_predicts_logits_like_the_network(exported: Exported) -> None:
    network, path = exported
    predicted = OnnxModel(path).predict(BOARD_BS[:9], HAND_BH[:9])
    with torch.no_grad():
        wanted = network(BOARD_BS[:9], HAND_BH[:9])
    torch.testing.assert_close(predicted[0], wanted[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(predicted[1], wanted[1], rtol=1e-4, atol=1e-4)


def test_interface(exported: Exported) -> None:
    model = onnx.load(exported[1])

    def ports(values: object) -> dict[str, tuple[int, list[str | int]]]:
        return {
            value.name: (
                value.type.tensor_type.elem_type,
                [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
            )
            for value in values  # type: ignore[attr-defined]
        }

    uint8, float32 = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
    assert ports(model.graph.input) == {
        "board": (uint8, ["batch", 9, 9]),
        "hand": (uint8, ["batch", 14]),
    }
    assert ports(model.graph.output) == {
        "policy": (float32, ["batch", 1496]),
        "value": (float32, ["batch"]),
    }
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert [path.name for path in exported[1].parent.iterdir()] == ["model.onnx"]


def test_kernels_are_folded(exported: Exported) -> None:
    """At inference the blocks are plain convolutions: nothing computes kernels."""
    graph = onnx.load(exported[1]).graph
    weights = {initializer.name for initializer in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 2 * 2 + 2
    assert all(node.input[1] in weights for node in convolutions)


def test_metadata(exported: Exported) -> None:
    metadata = OnnxModel(exported[1]).metadata
    assert metadata["training.step"] == "1234"
    assert metadata["maou.version"] == maou.__version__
    assert metadata[LABELS_KEY] == "maou-1496-v1"
    assert metadata["model.model_architecture"] == "resnet"
    assert metadata["model.resnet_blocks"] == "2"
    assert metadata["model.resnet_channels"] == "32"
    assert "row = rank" in metadata["input.board"]
    assert "win probability" in metadata["output.value"]


def test_a_bfloat16_network_is_exported_in_float32(tmp_path: Path) -> None:
    config = ModelConfig(resnet_blocks=1, resnet_channels=16)
    network = build_network(config).to(torch.bfloat16).eval()
    export_onnx(network, tmp_path / "m.onnx", metadata={})
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    assert not network.training
    assert verify_onnx(tmp_path / "m.onnx", network, BOARD_BS, HAND_BH) < 1e-4


def changed(exported: Exported, path: Path, old: str, new: str) -> Path:
    """Write the model with an input, output or metadata entry renamed."""
    model = onnx.load(exported[1])
    for value in (*model.graph.input, *model.graph.output):
        if value.name == old:
            value.name = new
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    for entry in model.metadata_props:
        entry.value = new if entry.value == old else entry.value
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("board", "input1", r"input 'board' \(uint8 \[batch, 9, 9\]\) is missing"),
        ("value", "output_value", "output 'value'.* is missing; its outputs are"),
        ("maou-1496-v1", "other", "its move labels are other, ours are maou-1496-v1"),
    ],
)
def test_other_interfaces_are_refused(
    exported: Exported, tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = changed(exported, tmp_path / "other.onnx", old, new)
    with pytest.raises(CheckpointError, match=message) as error:
        OnnxModel(path)
    assert str(path) in str(error.value)


def identity_model(name: str, kind: int, shape: list[str | int]) -> bytes:
    port = onnx.helper.make_tensor_value_info(name, kind, shape)
    out = onnx.helper.make_tensor_value_info("out", kind, shape)
    node = onnx.helper.make_node("Identity", [name], ["out"])
    graph = onnx.helper.make_graph([node], "g", [port], [out])
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an ONNX model"),
        (b"no model at all", "not an ONNX model"),
        (
            identity_model("board", onnx.TensorProto.FLOAT, ["n", 9, 9]),
            "input 'board' is tensor",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as error:
        OnnxModel(path)
    assert str(path) in str(error.value)


def test_missing_and_torn_files_are_refused(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such model file"):
        OnnxModel(tmp_path / "absent.onnx")
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(exported[1].read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="not an ONNX model"):
        OnnxModel(torn)
