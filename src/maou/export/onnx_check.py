"""A model file looked at before onnxruntime sees it.

An ONNX file can name other files to read (external data), operators of libraries,
loops without end, and tensors far larger than itself. A network of our interface needs
none of these.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import onnx

from maou.errors import CheckpointError
from maou.reading import read_limited
from maou.text import shortened

_MOST_BYTES = 2**31 - 1
"""A protobuf message can be no longer."""

_MOST_NODES = 100_000
_DOMAINS = ("", "ai.onnx")


def read_onnx(path: Path) -> bytes:
    """Read a model file that is safe to hand to onnxruntime.

    Raises:
        CheckpointError: it cannot be read, is no ONNX model, or holds what a network
            of ours never does; the message says what.
    """
    try:
        data = read_limited(path, _MOST_BYTES)
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # protobuf raises errors of its own
        text = getattr(error, "strerror", None) or shortened(str(error))
        raise CheckpointError(
            f"{path}: not an ONNX model that can be read ({text})"
        ) from error
    reason = _reason_against(model)
    if reason:
        raise CheckpointError(
            f"{path}: {reason}; a network of maou has no use for that, so it is not "
            "loaded. Export the network again"
        )
    return data


def _reason_against(model: onnx.ModelProto) -> str:
    """Say what the model holds that ours never do; nothing if it is plain."""
    graph = model.graph
    if model.functions or model.training_info:
        return "defines functions or training steps of its own"
    if len(graph.node) > _MOST_NODES:
        return f"has {len(graph.node)} operators"
    if graph.sparse_initializer:
        return "has sparse tensors"
    reasons = (
        *map(_reason_against_node, graph.node),
        *map(_reason_against_tensor, _tensors(graph)),
    )
    return next(filter(None, reasons), "")


def _reason_against_node(node: onnx.NodeProto) -> str:
    if node.domain not in _DOMAINS:
        return f"uses the operator {node.op_type!r} of the domain {node.domain!r}"
    for attribute in node.attribute:
        if attribute.graphs or attribute.HasField("g"):
            return f"has loops or branches (operator {node.op_type!r})"
        if attribute.sparse_tensors or attribute.HasField("sparse_tensor"):
            return "has sparse tensors"
    return ""


def _reason_against_tensor(tensor: onnx.TensorProto) -> str:
    if tensor.external_data or tensor.data_location == tensor.EXTERNAL:
        return f"reads the tensor {tensor.name!r} from another file"
    claimed, held = _claimed(tensor), tensor.ByteSize()
    if claimed > 8 * held:  # there are types of less than a byte
        return f"the tensor {tensor.name!r} claims {claimed} values in {held} bytes"
    return ""


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _claimed(tensor: onnx.TensorProto) -> int:
    """Count the values that the dimensions promise; endless where one is negative."""
    if any(size < 0 for size in tensor.dims):
        return 2**63
    return math.prod(tensor.dims)
