"""Where in a network numbers cease to be finite."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn


@dataclass
class Trace:
    """What was seen first; empty where all was finite.

    Attributes:
        forward: the place in the forward pass.
        backward: the place in the backward pass.
    """

    forward: str = ""
    backward: str = ""


@contextmanager
def traced(network: nn.Module) -> Iterator[Trace]:
    """Watch every module of a network; what it computes stays the same, bit by bit."""
    trace = Trace()
    handles = [
        module.register_forward_hook(partial(_after, trace, name or "the network"))
        for name, module in network.named_modules()
    ]
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def _after(
    trace: Trace, name: str, module: nn.Module, inputs: Any, outputs: Any
) -> None:
    """Look at a module's results, and in time at their gradients.

    Inner modules are done before those around them, so the first place is the
    innermost.
    """
    tensors = list(_tensors(outputs))
    if not trace.forward and not all(_finite(tensor) for tensor in tensors):
        before = not all(_finite(tensor) for tensor in _tensors(inputs))
        trace.forward = f"{'before' if before else 'in'} {name}"
        bad = [
            parameter
            for parameter, value in module.named_parameters(recurse=False)
            if not _finite(value)
        ]
        if bad:
            trace.forward += f" (its {', '.join(bad)} is not finite)"
    for tensor in tensors:
        if tensor.requires_grad:
            tensor.register_hook(  # type: ignore[no-untyped-call]
                partial(_gradient, trace, name)
            )


def _gradient(trace: Trace, name: str, gradient: Tensor) -> None:
    if not trace.backward and not _finite(gradient):
        trace.backward = f"at the output of {name}"


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from _tensors(value)
