"""Reading checkpoints: verified first, then built from what they say of themselves."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from maou.checkpoint.fit import fill
from maou.checkpoint.folders import BEST, STATE
from maou.checkpoint.links import read_links
from maou.checkpoint.manifest import MANIFEST, verify_manifest
from maou.checkpoint.save import FORMAT_VERSION, MODEL
from maou.errors import CheckpointError, ConfigError
from maou.model.config import ModelConfig
from maou.model.network import Network, build_network
from maou.shogi.labels import LABEL_SCHEME


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A network as it was saved, in evaluation mode on the CPU.

    Attributes:
        folder: where it came from.
        network: the network.
        state: the contents of `state.json`.
    """

    folder: Path
    network: Network
    state: dict[str, Any]


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint folder that a path means: itself, or a run's best.

    Raises:
        CheckpointError: there is neither.
    """
    if (path / MANIFEST).is_file():
        return path
    for name in (BEST, read_links(path).get(BEST, "")):
        if name and (path / name / MANIFEST).is_file():
            return path / name
    raise CheckpointError(
        f"{path}: not a checkpoint folder (no {MANIFEST}) and not a run's folder (no "
        f"{BEST}/{MANIFEST})"
    )


def load_checkpoint(path: Path) -> LoadedCheckpoint:
    """Verify a checkpoint and rebuild its network from the sizes it was saved with.

    Raises:
        CheckpointError: it is damaged, of a newer format, or does not fit itself.
    """
    folder = find_checkpoint(path)
    state, tensors = read_checkpoint(folder)
    heads = set(state.get("heads", ()))
    if heads != {"policy_head", "value_head"}:
        raise CheckpointError(
            f"{folder}: a network with {', '.join(sorted(heads)) or 'no heads'}, as "
            "stages 1 and 2 train; needed is one with policy and value (stage 3)"
        )
    try:
        network = build_network(ModelConfig(**state["model"]))
    except (ConfigError, TypeError) as error:
        raise CheckpointError(
            f"{folder / STATE}: describes a network that this version cannot build: "
            f"{error}"
        ) from error
    fill(network, tensors, f"{folder / MODEL}: does not fit the network it describes")
    return LoadedCheckpoint(folder, network.eval(), state)


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Verify a checkpoint folder; give its `state.json` and the network's tensors.

    Raises:
        CheckpointError: it is damaged, or of a newer format.
    """
    verify_manifest(folder)
    state = _read_state(folder)
    try:
        return state, load_file(folder / MODEL)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder / MODEL}: cannot be read: {error}") from error


def _read_state(folder: Path) -> dict[str, Any]:
    path = folder / STATE
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    if state.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {state.get('format_version')}, but this maou "
            f"reads {FORMAT_VERSION}; use the version that wrote it"
        )
    if state.get("label_scheme") != LABEL_SCHEME:
        raise CheckpointError(
            f"{path}: policy labels {state.get('label_scheme')}, but this maou uses "
            f"{LABEL_SCHEME}"
        )
    return state
