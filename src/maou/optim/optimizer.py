"""The optimiser over a network's named parameters, in a decayed and a plain group."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from maou.optim import config as names
from maou.optim.config import OptimConfig


def build_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]], config: OptimConfig
) -> Optimizer:
    """Make the optimiser of the parameters that require a gradient.

    The first group is decayed, the second is not (see `is_decayed`); a group without
    parameters is left out. Each group keeps its parameters' names in `param_names`,
    in the order of its parameters, so that saved state can be matched by name.

    Raises:
        ValueError: no parameter requires a gradient.
    """
    trainable = [(name, p) for name, p in named_parameters if p.requires_grad]
    if not trainable:
        raise ValueError("no parameter requires a gradient: nothing to optimise")
    decayed = [(name, p) for name, p in trainable if is_decayed(name, p)]
    plain = [(name, p) for name, p in trainable if not is_decayed(name, p)]
    groups: list[dict[str, Any]] = [
        {"params": params, "weight_decay": decay}
        for params, decay in ((decayed, config.weight_decay), (plain, 0.0))
        if params
    ]
    return _OPTIMIZERS[config.optimizer](groups, config)


def is_decayed(name: str, parameter: torch.Tensor) -> bool:
    """Tell whether weight decay pulls on a parameter.

    Matrices and convolution kernels are decayed: with a norm behind them their length
    only sets how fast they turn, and decay keeps that speed up. Gains, biases (also
    those with one row a square) and embeddings have a scale that means something.
    """
    return parameter.ndim >= 2 and "embedding" not in name and "bias" not in name


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every group for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def _adamw(groups: list[dict[str, Any]], config: OptimConfig) -> Optimizer:
    return AdamW(
        groups,
        lr=config.learning_rate,
        betas=(config.optimizer_beta1, config.optimizer_beta2),
        eps=config.optimizer_eps,
        fused=_can_fuse(groups),
    )


def _sgd(groups: list[dict[str, Any]], config: OptimConfig) -> Optimizer:
    return SGD(
        groups,
        lr=config.learning_rate,
        momentum=config.momentum,
        fused=_can_fuse(groups),
    )


def _can_fuse(groups: list[dict[str, Any]]) -> bool:
    """One kernel for all parameters exists on these devices, for real numbers."""
    return all(
        parameter.device.type in ("cuda", "cpu")
        for group in groups
        for _, parameter in group["params"]
    )


_OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], OptimConfig], Optimizer]] = {
    names.ADAMW: _adamw,
    names.SGD: _sgd,
}
