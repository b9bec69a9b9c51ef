"""A network as one ONNX file in our own interface (`interface.py`).

Takes a network in any state of training and leaves it untouched: what is exported is
a copy in float32 on the CPU, in evaluation mode, with its kernels and matrices folded.

Shapes: B batch, S 81 squares (row-major, a row a rank), H 14 hand counts.
"""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import torch
from onnx import version_converter
from torch import Tensor, nn

import maou
from maou.export.interface import INPUTS, OUTPUTS, interface_metadata
from maou.export.runtime import OnnxModel
from maou.files import atomic_write
from maou.model.folding import fold
from maou.model.network import Network
from maou.settings import as_plain

OPSET = 17
"""Loads in onnxruntime 1.12 and TensorRT 8.6 already."""

_TRACED_OPSET = 18  # the lowest that torch's exporter writes by itself


def export_onnx(network: Network, path: Path, *, metadata: Mapping[str, str]) -> None:
    """Write the network to one file, atomically.

    Args:
        network: any device, type and mode; it is only read.
        path: the file; parents are created.
        metadata: further entries for the model's metadata, such as the training
            step. Interface, label scheme, sizes and our version are always there.
    """
    with torch.no_grad():
        model = _trace(network)
    model.producer_name, model.producer_version = "maou", maou.__version__
    others = network.config.sizes_of_others()
    sizes = {
        f"model.{key}": str(value)
        for key, value in as_plain(network.config).items()
        if key not in others
    }
    onnx.helper.set_model_props(
        model,
        {
            "maou.version": maou.__version__,
            **interface_metadata(),
            **sizes,
            **metadata,
        },
    )
    onnx.checker.check_model(model, full_check=True)
    with atomic_write(path) as stream:
        stream.write(model.SerializeToString())


def verify_onnx(
    path: Path, network: Network, board_BS: Tensor, hand_BH: Tensor
) -> float:
    """Run a file in onnxruntime and compare it with the network it came from.

    Args:
        path: a file that `export_onnx` wrote.
        network: the network, compared in float32 on the CPU.
        board_BS: piece ids of some positions, uint8 [B, S].
        hand_BH: their hand counts, uint8 [B, H].

    Returns:
        The largest absolute difference of any policy logit or win probability.

    Raises:
        CheckpointError: the file is not such a model.
    """
    policy, value = OnnxModel(path).run(board_BS.cpu(), hand_BH.cpu())
    with torch.no_grad():
        expected = _plain_copy(network)(board_BS.cpu(), hand_BH.cpu())
    policy_gap = (policy - expected.policy_logits_BM).abs().max()
    value_gap = (value - torch.sigmoid(expected.value_logit_B)).abs().max()
    return float(max(policy_gap.item(), value_gap.item()))


class _Player(nn.Module):
    """The network with the inputs and outputs of the interface."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, board: Tensor, hand: Tensor) -> tuple[Tensor, Tensor]:
        """Take uint8 [B, 9, 9] and [B, H]; give logits and win probability."""
        outputs = self.network(board.flatten(1), hand)
        return outputs.policy_logits_BM, torch.sigmoid(outputs.value_logit_B)


def _plain_copy(network: Network) -> Network:
    return copy.deepcopy(network).cpu().float().eval()


def _trace(network: Network) -> onnx.ModelProto:
    player = _Player(_plain_copy(network))
    fold(player)
    # Two rows: torch would take a batch of one for a constant.
    example = {
        name: torch.zeros(2, *port.shape, dtype=torch.uint8)
        for name, port in INPUTS.items()
    }
    batch = torch.export.Dim("batch")
    with _quiet_exporter():
        program = torch.onnx.export(
            player.eval(),
            kwargs=example,
            dynamo=True,
            verbose=False,
            opset_version=_TRACED_OPSET,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes={name: {0: batch} for name in INPUTS},
            external_data=False,
        )
    assert program is not None
    return _lower(program.model_proto)


def _lower(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert from the exporter's opset to ours."""
    model = version_converter.convert_version(model, OPSET)
    for node in model.graph.node:
        if node.op_type.startswith("Reduce"):
            # The converter (onnx 1.23) moves `axes` back into an attribute, but
            # leaves this one, which opset 17 does not know; 0 is what 17 means.
            extra = [a for a in node.attribute if a.name == "noop_with_empty_axes"]
            for attribute in extra:
                assert attribute.i == 0, node.name
                node.attribute.remove(attribute)
    return model


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep remarks that no user can act on (absent torchvision, own deprecations)."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
