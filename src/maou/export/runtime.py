"""A model file of our own interface, run by onnxruntime on the CPU.

Shapes: B batch, S 81 squares (row-major, a row a rank), H 14 hand counts, M the 1496
move labels.
"""

import functools
import os
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from maou.errors import CheckpointError
from maou.export.interface import INPUTS, LABELS_KEY, OUTPUTS, Port
from maou.export.onnx_check import read_onnx
from maou.model.network import Outputs
from maou.shogi.labels import LABEL_SCHEME
from maou.text import shortened

_SILENT = 4
"""No log of onnxruntime's: what it says comes as exceptions too."""

_NEAREST_PROBABILITY = 1e-7  # a float32 step below 1 is 6e-8; 1 itself has no logit


class OnnxModel:
    """A loaded model; `metadata` holds what the exporter wrote into it."""

    def __init__(self, path: Path) -> None:
        """Load a file and check that it speaks our interface.

        Raises:
            CheckpointError: the file is missing, unreadable or not plain, or lacks an
                input, an output or the label scheme that we need.
        """
        if not path.exists():
            raise CheckpointError(f"{path}: there is no such model file")
        data = read_onnx(path)
        _bound_memory()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = _SILENT
        options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = onnxruntime.InferenceSession(
                data,
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,  # which would print, and try the same again
            )
            self.metadata: dict[str, str] = dict(
                self._session.get_modelmeta().custom_metadata_map
            )
        except Exception as error:  # onnxruntime's errors have no narrower base
            raise CheckpointError(
                f"{path}: not an ONNX model that onnxruntime can load "
                f"({shortened(str(error))})"
            ) from error
        self._path = path
        _check_ports(path, "input", INPUTS, self._session.get_inputs())
        _check_ports(path, "output", OUTPUTS, self._session.get_outputs())
        scheme = self.metadata.get(LABELS_KEY)
        if scheme != LABEL_SCHEME:
            raise CheckpointError(
                f"{path}: its move labels are {scheme or 'not named'}, ours are "
                f"{LABEL_SCHEME} (metadata {LABELS_KEY}); export the network again"
            )

    def run(self, board_BS: Tensor, hand_BH: Tensor) -> tuple[Tensor, Tensor]:
        """Give policy logits [B, M] and win probabilities [B], as the file does.

        Args:
            board_BS: piece ids, uint8 [B, S].
            hand_BH: hand counts, uint8 [B, H].

        Raises:
            CheckpointError: it fails on them, or gives something else.
        """
        fed = {"board": board_BS.view(-1, 9, 9).numpy(), "hand": hand_BH.numpy()}
        options = onnxruntime.RunOptions()
        options.log_severity_level = _SILENT
        try:
            policy, value = self._session.run(list(OUTPUTS), fed, options)
        except Exception as error:  # onnxruntime's errors have no narrower base
            raise CheckpointError(
                f"{self._path}: cannot be run on {len(board_BS)} positions "
                f"({shortened(str(error))})"
            ) from error
        for found, (name, port) in zip((policy, value), OUTPUTS.items(), strict=True):
            if found.shape != (len(board_BS), *port.shape):
                raise CheckpointError(
                    f"{self._path}: output '{name}' of {len(board_BS)} positions has "
                    f"the shape {list(found.shape)}, not {port.describe()}"
                )
        return torch.from_numpy(policy), torch.from_numpy(value)

    def predict(self, board_BS: Tensor, hand_BH: Tensor) -> Outputs:
        """Give what the network would: logits of both, on the CPU.

        A win probability is turned back into its logit, which float32 bounds at
        about 16.
        """
        policy_BM, value_B = self.run(board_BS, hand_BH)
        return Outputs(policy_BM, torch.logit(value_B, eps=_NEAREST_PROBABILITY))


@functools.cache
def _bound_memory() -> None:
    """Let the models of this process take half of the machine's memory at most.

    A few bytes of a model can ask for a tensor of any size.
    """
    half = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo(
            "Cpu",
            onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
            0,
            onnxruntime.OrtMemType.DEFAULT,
        ),
        onnxruntime.OrtArenaCfg(half, -1, -1, -1),
    )


def _check_ports(path: Path, side: str, wanted: dict[str, Port], found: Any) -> None:
    """Refuse a model whose inputs or outputs are not ours.

    Raises:
        CheckpointError: one is missing, too many, or of another type or shape.
    """
    has = {port.name: port for port in found}
    names = ", ".join(has)
    for name, port in wanted.items():
        if name not in has:
            raise CheckpointError(
                f"{path}: not a network of maou: {side} '{name}' ({port.describe()}) "
                f"is missing; its {side}s are {names}"
            )
        actual = has[name]
        fits = actual.type == f"tensor({port.kind})" and (
            tuple(actual.shape[1:]) == port.shape
        )
        if not fits:
            raise CheckpointError(
                f"{path}: not a network of maou: {side} '{name}' is {actual.type} "
                f"{actual.shape}, not {port.describe()}"
            )
    if len(has) > len(wanted):
        raise CheckpointError(
            f"{path}: not a network of maou: its {side}s are {names}, where only "
            f"{', '.join(wanted)} are known"
        )
