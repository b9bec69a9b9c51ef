"""The learning rate as a pure function of the optimiser step.

It keeps no state, so a resumed run has the right rate from its step number alone.
"""

import math
from collections.abc import Callable

from maou.optim.config import CONSTANT, COSINE_ANNEALING, WARMUP_COSINE, OptimConfig


def learning_rate_at(step: int, total_steps: int, config: OptimConfig) -> float:
    """Give the learning rate of one optimiser step.

    Args:
        step: number of optimiser steps already made; the first step has 0.
        total_steps: optimiser steps of the whole run, at least 1.
        config: schedule and highest learning rate.

    Returns:
        A rate in [0, config.learning_rate]; 0 at and after `total_steps`, which no
        step of the planned run has.
    """
    if step < 0 or total_steps < 1:
        raise ValueError(f"no learning rate for step {step} of {total_steps}")
    if step >= total_steps:
        return 0.0
    return config.learning_rate * _SCHEDULES[config.lr_scheduler](step, total_steps)


def warmup_steps(total_steps: int) -> int:
    """Give the number of warm-up steps: a tenth of all, at least one."""
    return max(1, total_steps // 10)


def _warmup_cosine(step: int, total_steps: int) -> float:
    """Rise linearly to 1 at step `warmup - 1`, stay for one step, fall to 0."""
    warmup = warmup_steps(total_steps)
    if step < warmup:
        return (step + 1) / warmup
    return _cosine(step - warmup, total_steps - warmup)


def _cosine(step: int, total_steps: int) -> float:
    """Loshchilov & Hutter 2017 (SGDR), eq. 5, with a minimum of 0, no restart."""
    return (1.0 + math.cos(math.pi * step / total_steps)) / 2.0


def _constant(step: int, total_steps: int) -> float:  # noqa: ARG001
    return 1.0


_SCHEDULES: dict[str, Callable[[int, int], float]] = {
    WARMUP_COSINE: _warmup_cosine,
    COSINE_ANNEALING: _cosine,
    CONSTANT: _constant,
}
