"""The device of a run, and the precision of its forward pass."""

import contextlib
from dataclasses import dataclass

import torch

from maou.errors import ConfigError


@dataclass(frozen=True)
class Compute:
    """Where a network runs.

    Attributes:
        device: the device.
        autocast: type of the forward pass on it, or None for plain float32.
    """

    device: torch.device
    autocast: torch.dtype | None

    @property
    def precision(self) -> str:
        """Name the precision, for the plan."""
        return "bf16 autocast" if self.autocast is torch.bfloat16 else "fp32"

    def forward_context(self) -> contextlib.AbstractContextManager[object]:
        """Give the context in which forward passes run."""
        if self.autocast is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast)

    def describe(self) -> str:
        """Name the device as a user knows it."""
        if self.device.type == "cuda":
            return f"{self.device} ({torch.cuda.get_device_name(self.device)})"
        if self.device.type == "cpu":
            return f"cpu ({torch.get_num_threads()} threads)"
        return str(self.device)


def resolve_compute(name: str | None) -> Compute:
    """Find the device that `--gpu` names, or the best one present.

    Raises:
        ConfigError: the name is no device's, or the device is not available.
    """
    if name is None:
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"--gpu {name}: this device is not available ({reason}); name another, or "
            "leave the flag out for the best one present"
        ) from error
    autocast = None
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        autocast = torch.bfloat16
    return Compute(device, autocast)
