"""Putting saved tensors into a network, or saying why they do not fit."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from maou.errors import CheckpointError
from maou.text import shortened

_LISTED = 40
"""At most so many names of a kind are written out; a wholly different network has
hundreds."""


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load tensors by name; every name and shape has to fit, and nothing may be left.

    Args:
        module: what to fill; untouched where an error is raised.
        tensors: the tensors, by the module's own names.
        source: where they came from and what they ought to fit, for the message.

    Raises:
        CheckpointError: names are missing or unexpected, or shapes differ.
    """
    require_fit(module, tensors, source)
    module.load_state_dict(tensors)


def require_fit(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Check that `fill` would go well.

    Raises:
        CheckpointError: as `fill` does.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - own.keys())
    misshapen = sorted(
        f"{name} is {list(tensors[name].shape)}, not {list(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    )
    if missing or unexpected or misshapen:
        raise CheckpointError(
            f"{source}. Missing: {_listed(missing)}. Unexpected: "
            f"{_listed(unexpected)}. Other shapes: {_listed(misshapen)}."
        )
    odd = sorted(
        f"{name} is {tensor.dtype}"
        for name, tensor in tensors.items()
        if tensor.dtype.is_complex or tensor.layout != torch.strided
    )
    if odd:
        raise CheckpointError(f"{source}. Not real numbers: {_listed(odd)}.")


def _listed(names: Collection[str]) -> str:
    if not names:
        return "none"
    shown = "; ".join(shortened(name, 100) for name in list(names)[:_LISTED])
    more = len(names) - _LISTED
    return f"{shown}; and {more} more" if more > 0 else shown
