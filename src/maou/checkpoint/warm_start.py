"""Starting a new run from saved parameters, part by part of the network.

Takes whole networks and part files alike (`parts.py`). Parameters only: no optimiser
state, no counters, no settings.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from maou.checkpoint.config import WarmStartConfig
from maou.checkpoint.fit import fill
from maou.checkpoint.load import find_checkpoint, read_checkpoint
from maou.checkpoint.parts import HEADER
from maou.errors import CheckpointError
from maou.model.network import BackboneNetwork
from maou.reading import json_object
from maou.settings import settings_of
from maou.shogi.labels import LABEL_SCHEME
from maou.text import shortened

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
    theirs = _architecture(origin) or ours
    other = f" (the file is of a {theirs} network)" if theirs != ours else ""
    source = f"{path}: does not fit the {part} of this {ours} network{other}"
    fill(network.get_submodule(part), tensors, source)


def _architecture(origin: Mapping[str, Any]) -> str:
    """Name the architecture that a source says it is of, if it does."""
    model = origin.get("model")
    said = model.get("model_architecture") if isinstance(model, dict) else None
    return shortened(said, 40) if isinstance(said, str) else ""


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
        held = shortened(str(held), 40)
        raise CheckpointError(f"{path}: holds a {held}, not a {part}")
    scheme = origin.get("label_scheme", LABEL_SCHEME)
    if part == "policy_head" and scheme != LABEL_SCHEME:
        raise CheckpointError(
            f"{path}: policy labels {shortened(str(scheme), 40)}, but this maou uses "
            f"{LABEL_SCHEME}"
        )


def _open(path: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER, "{}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json_object(header), tensors
    except Exception as error:  # safetensors raises whatever torch and Rust do
        raise CheckpointError(
            f"{path}: not a safetensors file ({shortened(str(error))})"
        ) from error


def _unpickle(path: Path) -> dict[str, Tensor]:
    """Read a `.pt` file, of which only plain tensors are accepted: no code runs."""
    try:
        _require_stored(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises whatever it likes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if reason.startswith("Weights only load failed"):  # advice to run its code
            reason = "it holds more than tensors"
        raise CheckpointError(
            f"{path}: not a file of plain tensors ({shortened(reason)})"
        ) from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor)
        for name, tensor in found.items()
    ):
        raise CheckpointError(f"{path}: not tensors by name, as a state_dict() holds")
    return dict(found)


def _require_stored(path: Path) -> None:
    """Refuse an archive whose parts would grow when they are unpacked.

    Raises:
        OSError, ValueError, BadZipFile: it is not one as torch writes them.
    """
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{part.filename} is compressed, as torch never does")
