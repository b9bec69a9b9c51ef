"""The device of a run, and the precision of its forward pass."""

import contextlib
from dataclasses import dataclass

import torch
from torch.amp import GradScaler

from maou.errors import ConfigError
from maou.text import shortened
from maou.train.config import AUTO

_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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
    def name(self) -> str:
        """The precision as `--precision` calls it."""
        return next(k for k, kind in _AUTOCAST.items() if kind is self.autocast)

    @property
    def precision(self) -> str:
        """Name the precision, for the plan."""
        shown = {
            None: "fp32",
            torch.bfloat16: "bf16 autocast",
            torch.float16: "fp16 autocast with loss scaling",
        }
        return shown[self.autocast]

    def scaler(self) -> GradScaler | None:
        """Make what scales losses, which float16 needs: its least number is large."""
        if self.autocast is not torch.float16:
            return None
        return GradScaler(self.device.type)

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


def resolve_compute(name: str | None, precision: str = AUTO) -> Compute:
    """Find the device that `--gpu` names, or the best one present.

    Args:
        name: the device; None for the best one.
        precision: fp32, bf16, fp16, or auto: on CUDA what its cores multiply fastest.

    Raises:
        ConfigError: the name is no device's, the device is not available, or it does
            not know the precision.
    """
    if name is None:
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # meta has shapes only
    except (RuntimeError, AssertionError, ImportError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, NotImplementedError):  # it lists all that torch has
            reason = "this torch does not compute there"
        raise ConfigError(
            f"--gpu {shortened(name, 40)}: this device is not available "
            f"({shortened(reason)}); name another, or leave the flag out for the best "
            "one present"
        ) from error
    return Compute(device, _autocast(device, precision))


def _autocast(device: torch.device, precision: str) -> torch.dtype | None:
    """Choose the type of forward passes.

    Raises:
        ConfigError: the device does not know it.
    """
    if precision == AUTO:
        if device.type != "cuda":
            return None
        # Older GPUs emulate bfloat16, slowly, but multiply float16 in hardware.
        known = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if known else torch.float16
    kind = _AUTOCAST[precision]
    if kind is not None and not torch.amp.is_autocast_available(device.type):
        raise ConfigError(
            f"--precision {precision}: {device} has no autocast; use fp32"
        )
    return kind
