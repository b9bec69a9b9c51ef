"""Starting a new run from saved parameters, part by part of the network.

Takes whole networks and part files alike (`parts.py`). Parameters only: no optimiser
state, no counters, no settings.
"""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from maou.checkpoint.config import WarmStartConfig
from maou.checkpoint.fit import fill
from maou.checkpoint.load import find_checkpoint, read_checkpoint
from maou.checkpoint.parts import HEADER
from maou.errors import CheckpointError
from maou.model.network import BackboneNetwork
from maou.settings import settings_of
from maou.shogi.labels import LABEL_SCHEME

_PICKLED = (".pt", ".pth")


def sources_of(config: WarmStartConfig) -> dict[str, tuple[str, Path]]:
    """Give the flag and the path of every part that is to be read."""
    given = {}
    for bound in settings_of(WarmStartConfig):
        path = getattr(config, bound.name)
        if path is not None:
            part = bound.name.removeprefix("resume_").removesuffix("_from")
            given[part] = (bound.flag, path)
    return given


def warm_start(
    network: BackboneNetwork, config: WarmStartConfig, *, backbone: bool = True
) -> None:
    """Fill the parts of a network that the configuration names a source for.

    Args:
        network: what to fill; sources of parts that it does not have are left alone.
        config: the sources.
        backbone: whether to fill the backbone too.

    Raises:
        CheckpointError: a source cannot be read, or does not fit its part; the
            message names the flag.
    """
    for part, (flag, path) in sources_of(config).items():
        if part not in network.heads and not (part == "backbone" and backbone):
            continue
        try:
            fill_part(network, part, path)
        except CheckpointError as error:
            raise CheckpointError(f"{flag} {error}") from error


def fill_part(network: BackboneNetwork, part: str, path: Path) -> None:
    """Fill one part of a network from a part file, a whole network or a checkpoint.

    Raises:
        CheckpointError: it cannot be read, or does not fit.
    """
    tensors, origin = _read(path, part)
    ours = network.config.model_architecture
    theirs = origin.get("model", {}).get("model_architecture", ours)
    other = f" (the file is of a {theirs} network)" if theirs != ours else ""
    source = f"{path}: does not fit the {part} of this {ours} network{other}"
    fill(network.get_submodule(part), tensors, source)


def _read(path: Path, part: str) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    """Read a part's tensors by its own names, and what the source says of itself."""
    origin: Mapping[str, Any] = {}
    if path.is_dir():
        origin, tensors = read_checkpoint(find_checkpoint(path))
    elif not path.is_file():
        raise CheckpointError(f"{path}: no such file or folder")
    elif path.suffix in _PICKLED:
        tensors = _unpickle(path)
    else:
        origin, tensors = _open(path)
    _check_origin(path, part, origin)
    prefix = f"{part}."
    inside = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    return inside or tensors, origin


def _check_origin(path: Path, part: str, origin: Mapping[str, Any]) -> None:
    held = origin.get("part", part)
    if held != part:
        raise CheckpointError(f"{path}: holds a {held}, not a {part}")
    scheme = origin.get("label_scheme", LABEL_SCHEME)
    if part == "policy_head" and scheme != LABEL_SCHEME:
        raise CheckpointError(
            f"{path}: policy labels {scheme}, but this maou uses {LABEL_SCHEME}"
        )


def _open(path: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER, "{}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        origin = json.loads(header)
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error})") from error
    return origin if isinstance(origin, dict) else {}, tensors


def _unpickle(path: Path) -> dict[str, Tensor]:
    """Read a `.pt` file, of which only plain tensors are accepted: no code runs."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.PickleError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: not a file of plain tensors ({reason})"
        ) from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor)
        for name, tensor in found.items()
    ):
        raise CheckpointError(f"{path}: not tensors by name, as a state_dict() holds")
    return dict(found)
