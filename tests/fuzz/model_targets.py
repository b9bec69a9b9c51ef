"""Checkpoints, manifests, files of parameters and ONNX models."""

import functools
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from fuzz.engine import Target
from fuzz.mutations import (
    NUMBERS,
    WORDS,
    Mutation,
    json_changed,
    safetensors_header_changed,
)
from fuzz.shard_targets import rows_of
from maou.checkpoint.folders import STATE
from maou.checkpoint.manifest import MANIFEST, seal
from maou.checkpoint.resume import find_resume_point, restore
from maou.checkpoint.save import MODEL, OPTIMIZER, RANDOM, save_checkpoint
from maou.checkpoint.warm_start import fill_part
from maou.cli.options import build_run
from maou.config import settings_from_record
from maou.evaluation.config import EvaluateConfig
from maou.evaluation.run import evaluate
from maou.export.interface import INPUTS, LABELS_KEY, OUTPUTS, SETTINGS_KEY
from maou.model.config import ModelConfig
from maou.model.network import Network, build_network
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer
from maou.settings import as_plain
from maou.shogi.labels import LABEL_SCHEME, N_LABELS
from maou.train.metrics import PolicyValueMetrics
from maou.train.state import Best, TrainState

SIZES = ModelConfig(resnet_blocks=1, resnet_channels=8)


@functools.cache
def _network() -> Network:
    torch.manual_seed(0)
    return build_network(SIZES)


def _fresh_state() -> TrainState:
    network = build_network(SIZES)
    return TrainState(
        network, build_optimizer(network.named_parameters(), OptimConfig())
    )


def _evaluated(model: Path, folder: Path) -> None:
    rows = folder / "rows.hcpe"
    rows.write_bytes(rows_of(8).tobytes())
    evaluate(EvaluateConfig(model=model, input_path=rows, gpu="cpu", split="all"))


# Checkpoints.


@functools.cache
def _checkpoint_files() -> dict[str, bytes]:
    """Save a checkpoint after one step, as a run does."""
    state = _fresh_state()
    for parameter in state.network.parameters():
        parameter.grad = torch.randn_like(parameter)
    state.optimizer.step()
    numbers = dict.fromkeys(PolicyValueMetrics.__dataclass_fields__, 0.5)
    metrics = PolicyValueMetrics(**{**numbers, "rows": 10})
    state.epoch = state.step = 1
    state.before = state.last = metrics
    state.best = {"total": Best(1, metrics, 1)}
    record = {**as_plain(build_run({"input_path": Path("games")}))}
    record |= {"stage": 3, "data_fingerprint": "0" * 16}
    with tempfile.TemporaryDirectory() as folder:
        saved = save_checkpoint(Path(folder), state, record, ["total"], split=True)
        return {path.name: path.read_bytes() for path in saved.iterdir()}


def _read_checkpoint(name: str, honest: bool) -> Callable[[bytes, Path], None]:
    """Resume from and evaluate a checkpoint one file of which is changed.

    Args:
        name: the file.
        honest: whether the manifest is that of the changed files.
    """

    def read(data: bytes, folder: Path) -> None:
        run = folder / "run"
        saved = run / "epoch-0001-step-00000001"
        saved.mkdir(parents=True)
        for file, content in _checkpoint_files().items():
            (saved / file).write_bytes(content)
        (saved / name).write_bytes(data)
        if honest and name != MANIFEST:
            (saved / MANIFEST).unlink()
            seal(saved)
        point = find_resume_point(str(run), folder)
        build_run(settings_from_record(point.settings))
        restore(_fresh_state(), point.folder, PolicyValueMetrics)
        if name in (MODEL, STATE, MANIFEST):
            _evaluated(saved, folder)

    return read


def _checkpoint(name: str, mutation: Mutation, *, honest: bool = True) -> Target:
    kind = "" if honest or name == MANIFEST else " unlisted"
    return Target(
        f"checkpoint {name}{kind}",
        lambda: (_checkpoint_files()[name],),
        _read_checkpoint(name, honest),
        (mutation,),
    )


# Files of parameters.


@functools.cache
def _part_seeds() -> tuple[bytes, ...]:
    files = _checkpoint_files()
    return files["policy_head.safetensors"], files[MODEL]


@functools.cache
def _pickle_seeds() -> tuple[bytes, ...]:
    made = []
    for tensors in (_network().state_dict(), _network().policy_head.state_dict()):
        stream = io.BytesIO()
        torch.save(tensors, stream)
        made.append(stream.getvalue())
    return tuple(made)


def _read_part(suffix: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        path = folder / f"part{suffix}"
        path.write_bytes(data)
        fill_part(build_network(SIZES), "policy_head", path)

    return read


# ONNX.


@functools.cache
def _onnx_seeds() -> tuple[bytes, ...]:
    """Make a model of our interface, smaller and sooner than a network exports."""
    tensors = {
        "flat": np.array([-1, 81], dtype=np.int64),
        "line": np.array([-1], dtype=np.int64),
        "inner": np.ones((81, 4), dtype=np.float32) / 81,
        "outer": np.ones((4, N_LABELS), dtype=np.float32),
        "hands": np.ones((14, 1), dtype=np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["board"], ["squares"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Reshape", ["squares", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "inner"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "outer"], ["policy"]),
        helper.make_node("Cast", ["hand"], ["held"], to=onnx.TensorProto.FLOAT),
        helper.make_node("MatMul", ["held", "hands"], ["column"]),
        helper.make_node("Reshape", ["column", "line"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["value"]),
    ]
    kinds = {"uint8": onnx.TensorProto.UINT8, "float": onnx.TensorProto.FLOAT}
    ports = [
        [
            helper.make_tensor_value_info(
                name, kinds[port.kind], ["batch", *port.shape]
            )
            for name, port in side.items()
        ]
        for side in (INPUTS, OUTPUTS)
    ]
    held = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "seed", *ports, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    settings = json.dumps({"loss": {}, "data": {"seed": 3}})
    said = {LABELS_KEY: LABEL_SCHEME, "training.step": "7", SETTINGS_KEY: settings}
    helper.set_model_props(model, said)
    return (model.SerializeToString(),)


def _onnx_changed(data: bytes, random: Random) -> bytes:
    """Change one thing in the structure of a model."""
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception:  # noqa: BLE001 - damaged before
        return data
    graph = model.graph
    if not graph.node or not graph.initializer:
        return data
    node, tensor = random.choice(graph.node), random.choice(graph.initializer)
    number = random.choice([n for n in NUMBERS if abs(n) < 2**63])
    word = random.choice(WORDS)
    changes: tuple[Callable[[], Any], ...] = (
        lambda: setattr(node, "op_type", random.choice(_OPERATORS)),
        lambda: setattr(
            node, "domain", random.choice(("com.microsoft", "ai.onnx.ml", word))
        ),
        lambda: node.input.append(random.choice(graph.node).output[0]),
        lambda: node.output.append(word),
        lambda: node.input.__setitem__(0, word) if node.input else None,
        lambda: graph.node.remove(node),
        lambda: tensor.dims.append(number),
        lambda: tensor.dims.__setitem__(0, number) if tensor.dims else None,
        lambda: setattr(tensor, "data_type", random.randrange(25)),
        lambda: setattr(
            tensor, "raw_data", tensor.raw_data[: len(tensor.raw_data) // 2]
        ),
        lambda: _make_external(tensor, word),
        lambda: setattr(random.choice(model.metadata_props), "value", word),
        lambda: _change_settings(model, random),
        lambda: model.metadata_props.remove(random.choice(model.metadata_props)),
        lambda: setattr(model, "ir_version", number % 2**31),
        lambda: setattr(model.opset_import[0], "version", number),
        lambda: _change_port(random.choice((*graph.input, *graph.output)), random),
        lambda: _change_attribute(node, random),
        lambda: setattr(node, "name", word),
    )
    random.choice(changes)()
    return model.SerializeToString()


_OPERATORS = (
    "Relu", "Loop", "If", "ConstantOfShape", "Expand", "Tile", "Range", "Gather",
    "Reshape", "NonZero", "Custom", "Conv", "Cast", "Identity", "Softmax", "Concat",
)  # fmt: skip


def _make_external(tensor: Any, word: str) -> None:
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", word or "/etc/passwd"


def _change_settings(model: Any, random: Random) -> None:
    for entry in model.metadata_props:
        if entry.key == SETTINGS_KEY:
            changed = json_changed(entry.value.encode(), random)
            entry.value = changed.decode(errors="replace")


def _change_port(port: Any, random: Random) -> None:
    what = random.randrange(3)
    shape = port.type.tensor_type.shape
    if what == 0:
        port.type.tensor_type.elem_type = random.randrange(25)
    elif what == 1 and shape.dim:
        random.choice(shape.dim).dim_value = random.choice((0, 1, 3, -1, 2**40))
    else:
        port.name = random.choice(WORDS)


def _change_attribute(node: Any, random: Random) -> None:
    if not node.attribute:
        return
    attribute = random.choice(node.attribute)
    attribute.i = random.choice([n for n in NUMBERS if abs(n) < 2**63])
    if attribute.ints:
        attribute.ints[0] = attribute.i


def _read_onnx(data: bytes, folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(data)
    _evaluated(path, folder)


MODELS = (
    _checkpoint(STATE, json_changed),
    _checkpoint(STATE, json_changed, honest=False),
    _checkpoint(MANIFEST, json_changed),
    _checkpoint(MODEL, safetensors_header_changed),
    _checkpoint(OPTIMIZER, safetensors_header_changed),
    _checkpoint(RANDOM, safetensors_header_changed),
    Target(
        "part.safetensors",
        _part_seeds,
        _read_part(".safetensors"),
        (safetensors_header_changed,),
    ),
    Target("part.pt", _pickle_seeds, _read_part(".pt")),
    Target(
        "onnx",
        _onnx_seeds,
        _read_onnx,
        (_onnx_changed,),
    ),
)
