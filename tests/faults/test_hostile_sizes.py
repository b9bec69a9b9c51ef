"""Headers that claim enormous sizes: refused in a process with little memory."""

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import helper

from fuzz.engine import bound_memory, in_child
from fuzz.game_targets import SETTINGS
from fuzz.model_targets import MODELS
from fuzz.shard_targets import SHARDS, rows_of
from maou.errors import MaouError
from shard_files import RAW, table_of, write_feather

READ = {target.name: target for target in (*SHARDS, *SETTINGS, *MODELS)}
LITTLE = 400 << 20


def npy(**changes: Any) -> bytes:
    header = {"descr": RAW.descr, "fortran_order": False, "shape": (3,), **changes}
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + bytes(114)


def feather(folder: Path, compression: str | None = "lz4") -> bytes:
    write_feather(folder / "made", table_of(rows_of(200)), (100,), compression)
    return (folder / "made").read_bytes()


def grown_buffer(compression: str, size: int) -> Callable[[Path], bytes]:
    """Write a feather file one of whose buffers claims a size before its bytes."""

    def made(folder: Path) -> bytes:
        data = bytearray(feather(folder, compression))
        real = struct.pack("<q", 100)  # bytes of the column gameResult
        at = data.index(
            real + (b"\x04\x22\x4d\x18" if compression == "lz4" else b"\x28\xb5")
        )
        data[at : at + 8] = struct.pack("<q", size)
        return bytes(data)

    return made


def bomb(folder: Path) -> bytes:
    """Write a sound ZSTD file of zeros that is thousands of times as large unpacked."""
    table = table_of(rows_of(200)).append_column(
        "big", pa.array([bytes(250_000)] * 200)
    )
    write_feather(folder / "made", table, (), "zstd")
    return (folder / "made").read_bytes()


def many_rows(folder: Path) -> bytes:
    """Let every record batch claim 2^40 rows."""
    return feather(folder, None).replace(
        struct.pack("<q", 100), struct.pack("<q", 2**40)
    )


def safetensors(header: dict[str, Any], length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


def model_of(*nodes: Any) -> bytes:
    seed = onnx.ModelProto.FromString(READ["onnx"].seeds()[0])
    for node in reversed(nodes):
        seed.graph.node.insert(0, node)
    return seed.SerializeToString()


def huge_tensor() -> bytes:
    value = helper.make_tensor("v", onnx.TensorProto.INT64, [1], [10**12])
    model = onnx.ModelProto.FromString(
        model_of(
            helper.make_node("Constant", [], ["size"], value=value),
            helper.make_node("ConstantOfShape", ["size"], ["huge"]),
            helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
        )
    )
    model.graph.node[-2].input[0] = "sum2"
    model.graph.node.insert(3, helper.make_node("Add", ["sum", "column"], ["sum2"]))
    nodes = sorted(model.graph.node, key=lambda node: "sum2" in node.output)
    last = [n for n in nodes if "sum2" in (*n.input, *n.output) or "logit" in n.input]
    first = [n for n in nodes if n not in last]
    del model.graph.node[:]
    order = ("sum2", "logit", "value")
    last.sort(key=lambda node: order.index(node.output[0]))
    model.graph.node.extend([*first, *last])
    return model.SerializeToString()


def state_of_network(**sizes: Any) -> bytes:
    state = json.loads(READ["checkpoint state.json"].seeds()[0])
    state["model"] |= sizes
    return json.dumps(state).encode()


CLAIMS: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "npy rows": ("npy", lambda _: npy(shape=(2**47,))),
    "npy shape": ("npy", lambda _: npy(shape=(2**40, 2**40))),
    "npy width": ("npy", lambda _: npy(descr=[("hcp", "V2147483647")])),
    "npy digits": ("npy", lambda _: npy(shape=(2**64, 10**40))),
    "npy fields": ("npy", lambda _: npy(descr=[(f"f{i}", "u1") for i in range(3000)])),
    "packed npy": (
        "preprocess npy",
        lambda _: npy(
            descr=[("positions", "V40", (2**40,)), ("moves", "V10", (2**40,))], shape=()
        ),
    ),
    "feather lz4": ("feather", grown_buffer("lz4", 2**40)),
    "feather lz4 2 GB": ("feather", grown_buffer("lz4", 2**31)),
    "feather zstd": ("feather", grown_buffer("zstd", 2**40)),
    "feather rows": ("feather", many_rows),
    "feather bomb": ("feather", bomb),
    "hcpe3 moves": ("hcpe3", lambda _: rows_of(1)[0, :32].tobytes() + b"\xff\xff\0\0"),
    "safetensors header": ("part.safetensors", lambda _: safetensors({}, 10**11)),
    "safetensors tensor": (
        "part.safetensors",
        lambda _: safetensors(
            {"a": {"dtype": "F32", "shape": [10**11], "data_offsets": [0, 4 * 10**11]}}
        ),
    ),
    "checkpoint width": (
        "checkpoint state.json", lambda _: state_of_network(resnet_channels=10**7),
    ),
    "checkpoint depth": (
        "checkpoint state.json", lambda _: state_of_network(resnet_blocks=10**9),
    ),
    "checkpoint vit": (
        "checkpoint state.json",
        lambda _: state_of_network(model_architecture="vit", vit_mlp_ratio=1e12),
    ),
    "manifest of 1 GB": ("checkpoint MANIFEST.json", lambda _: b"[" * (20 << 20)),
    "state nested": ("hcpe-convert.json", lambda _: b'{"a":' * 10**6),
    "toml nested": ("run.toml", lambda _: b"a = " + b"[" * 10**6),
    "toml keys": ("run.toml", lambda _: b".".join([b"a"] * 10**5) + b" = 1"),
    "onnx made at run time": ("onnx", lambda _: huge_tensor()),
}  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_take_no_memory(claim: str, tmp_path: Path) -> None:
    name, make = CLAIMS[claim]
    target = READ[name]
    data = make(tmp_path)
    for seed in target.seeds()[:1]:
        place = tmp_path / "sound"
        place.mkdir()
        target.read(seed, place)  # warm, with as much memory as it likes

    def work() -> None:
        bound_memory(LITTLE)
        place = tmp_path / "case"
        place.mkdir()
        with pytest.raises(MaouError) as refused:
            target.read(data, place)
        assert len(str(refused.value)) < 20_000

    in_child(work)
