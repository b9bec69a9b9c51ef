"""What a checkpoint says of a run, checked before training goes on from it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.optim import SGD, AdamW, Optimizer

from maou.checkpoint.load import read_tensors
from maou.errors import CheckpointError
from maou.text import shortened
from maou.train.generators import restore_generators
from maou.train.numbers import WINDOW, Numbers
from maou.train.task import Metrics

_KINDS: dict[type[Optimizer], tuple[str, ...]] = {
    AdamW: ("exp_avg", "exp_avg_sq", "step"),
    SGD: ("momentum_buffer",),
}
"""What each optimiser keeps of a parameter."""


def count(value: Any, least: int = 0) -> int:
    """Take a whole number that is not negative, or at least so much.

    Raises:
        ValueError: it is something else.
    """
    if type(value) is not int or not least <= value < 2**63:
        raise ValueError(f"{shortened(repr(value), 40)} is not a count")
    return value


def metrics_of(kind: type[Metrics], plain: Mapping[str, Any]) -> Metrics:
    """Make metrics of numbers, some of which may be left out.

    Raises:
        TypeError: they are not of that kind, or not numbers.
    """
    for name, value in plain.items():
        if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
            raise TypeError(f"{shortened(name, 40)} is not a number")
    return kind(**plain)


def numbers_of(plain: Mapping[str, Any]) -> Numbers:
    """Make what a run keeps of its losses.

    Raises:
        TypeError, ValueError: it is something else.
    """
    found = Numbers(**plain)
    if not isinstance(found.losses, list) or len(found.losses) > WINDOW:
        raise ValueError("the latest losses are no list")
    if not all(type(loss) is float and math.isfinite(loss) for loss in found.losses):
        raise ValueError("the latest losses are no numbers")
    for number in (found.spikes, found.skipped_spikes, found.overflows):
        count(number)
    return found


def set_generators(path: Path) -> None:
    """Give torch's generators the states that were saved.

    Raises:
        CheckpointError: they are no such states.
    """
    states = read_tensors(path)
    try:
        restore_generators(states)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not the states of torch's random generators: "
            f"{shortened(str(error))}"
        ) from error


def require_state(
    optimizer: Optimizer, values: Mapping[int, dict[str, torch.Tensor]], path: Path
) -> None:
    """Refuse running means that are missing or of other shapes than their parameters.

    Args:
        optimizer: the optimiser.
        values: what was saved, by the parameters' numbers.
        path: the file, for the message.

    Raises:
        CheckpointError: they are.
    """
    kinds = _KINDS[type(optimizer)]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, held in values.items():
        shape = parameters[number].shape
        fits = set(held) == set(kinds) and all(
            tensor.shape == (() if kind == "step" else shape)
            and tensor.is_floating_point()
            for kind, tensor in held.items()
        )
        if not fits:
            raise CheckpointError(
                f"{path}: does not fit this run's optimiser, which keeps "
                f"{', '.join(kinds)} of every parameter"
            )
