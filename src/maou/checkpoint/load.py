"""Reading checkpoints: verified first, then built from what they say of themselves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from maou.checkpoint.fit import fill, require_fit
from maou.checkpoint.folders import BEST, STATE
from maou.checkpoint.links import read_links
from maou.checkpoint.manifest import MANIFEST, verify_manifest
from maou.checkpoint.save import FORMAT_VERSION, MODEL
from maou.errors import CheckpointError, ConfigError
from maou.model.config import MLP_MIXER, RESNET, ModelConfig
from maou.model.network import Network, build_network
from maou.reading import plain_name, read_json
from maou.shogi.labels import LABEL_SCHEME
from maou.text import shortened

_HEADS = ["policy_head", "value_head"]


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
    best = path / BEST
    if best.is_symlink() and not plain_name(str(best.readlink())):
        raise CheckpointError(
            f"{best}: leads to {best.readlink()}, out of the run's folder; name the "
            "checkpoint itself"
        )
    for name in (BEST, read_links(path).get(BEST, "")):
        if plain_name(name) and (path / name / MANIFEST).is_file():
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
    heads = state.get("heads")
    if not isinstance(heads, list) or sorted(map(str, heads)) != _HEADS:
        held = ", ".join(map(str, heads)) if isinstance(heads, list) else ""
        raise CheckpointError(
            f"{folder}: a network with {shortened(held) or 'no heads'}, as "
            "stages 1 and 2 train; needed is one with policy and value (stage 3)"
        )
    try:
        config = ModelConfig(**state["model"])
    except (ConfigError, TypeError, KeyError) as error:
        raise _unbuildable(folder, error) from error
    require_sizes(folder, config, lambda: build_network(config), tensors)
    network = build_network(config)
    fill(network, tensors, _misfit(folder))
    return LoadedCheckpoint(folder, network.eval(), state)


def require_sizes(
    folder: Path,
    config: ModelConfig,
    build: Callable[[], nn.Module],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Check that a network has the sizes of saved tensors, before it takes memory.

    Args:
        folder: the checkpoint.
        config: the network's sizes, which are only claims so far.
        build: builds it.
        tensors: what was saved.

    Raises:
        CheckpointError: it has others, or cannot be built.
    """
    try:
        _require_depth(config, len(tensors))
        with torch.device("meta"):
            require_fit(build(), tensors, _misfit(folder))
    except (ConfigError, TypeError, RuntimeError, OverflowError) as error:
        raise _unbuildable(folder, error) from error


def _misfit(folder: Path) -> str:
    return f"{folder / MODEL}: does not fit the network it describes"


def _unbuildable(folder: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{folder / STATE}: describes a network that this version cannot build: "
        f"{shortened(str(error))}"
    )


def _require_depth(config: ModelConfig, tensors: int) -> None:
    """Refuse a network of more layers than there are tensors, before it is built.

    Raises:
        ConfigError: it has.
    """
    depths = (config.resnet_blocks, config.mixer_num_layers, config.vit_num_layers)
    if config.model_architecture == RESNET:
        depth = depths[0]
    else:
        depth = depths[1] if config.model_architecture == MLP_MIXER else depths[2]
    if depth > tensors:
        raise ConfigError(f"{depth} layers, but the file holds {tensors} tensors")


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Verify a checkpoint folder; give its `state.json` and the network's tensors.

    Raises:
        CheckpointError: it is damaged, or of a newer format.
    """
    verify_manifest(folder, (MODEL, STATE))
    return _read_state(folder), read_tensors(folder / MODEL)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a file of tensors.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises whatever torch and Rust do
        raise CheckpointError(
            f"{path}: cannot be read: {shortened(str(error))}"
        ) from error


def _read_state(folder: Path) -> dict[str, Any]:
    path = folder / STATE
    try:
        state = read_json(path)
    except (OSError, ValueError) as error:
        text = shortened(str(error))
        raise CheckpointError(f"{path}: cannot be read: {text}") from error
    if state.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {_said(state, 'format_version')}, but this maou "
            f"reads {FORMAT_VERSION}; use the version that wrote it"
        )
    if state.get("label_scheme") != LABEL_SCHEME:
        raise CheckpointError(
            f"{path}: policy labels {_said(state, 'label_scheme')}, but this maou uses "
            f"{LABEL_SCHEME}"
        )
    return state


def _said(state: dict[str, Any], name: str) -> str:
    return shortened(str(state.get(name)), 40)
