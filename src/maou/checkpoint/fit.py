"""Putting saved tensors into a network, or saying why they do not fit."""

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from maou.errors import CheckpointError

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
    module.load_state_dict(tensors)


def _listed(names: Collection[str]) -> str:
    if not names:
        return "none"
    shown = "; ".join(list(names)[:_LISTED])
    more = len(names) - _LISTED
    return f"{shown}; and {more} more" if more > 0 else shown
