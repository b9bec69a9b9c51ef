"""Where networks are kept, and which saved ones a run starts from."""

import re
from dataclasses import dataclass
from pathlib import Path

from maou.errors import ConfigError
from maou.settings import Settings, setting

OUTPUT = "Output"
WARM_START = "Freezing and warm start"


_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Interval:
    """Time or steps between two checkpoints; the other one is None."""

    seconds: float | None = None
    steps: int | None = None


@dataclass(frozen=True)
class CheckpointConfig(Settings):
    """The folder of the runs' checkpoints and exported models."""

    model_dir: Path = setting(
        Path("models"),
        "Folder for checkpoints and ONNX models, one folder a run; made if missing.",
        OUTPUT,
        metavar="PATH",
    )
    checkpoint_interval: str = setting(
        "10min",
        "How often to save within an epoch, besides at the end of each: a time such as "
        "10min, 90s or 2h, or a number of optimiser steps such as 500steps.",
        OUTPUT,
        metavar="INTERVAL",
    )
    save_split_params: bool = setting(
        False,
        "Write each part of the network to a file of its own as well, inside every "
        "checkpoint: backbone.safetensors and one file a head.",
        OUTPUT,
    )

    def check(self) -> None:
        """Check that the interval can be read.

        Raises:
            ConfigError: it is neither a time nor a number of steps.
        """
        self.interval  # noqa: B018 - raises

    @property
    def interval(self) -> Interval:
        """The time or the steps between two checkpoints."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]+)", self.checkpoint_interval)
        number, unit = found.groups() if found else ("0", "")
        if unit in ("step", "steps") and number.isdecimal() and int(number):
            return Interval(steps=int(number))
        if unit in _UNITS and float(number):
            return Interval(seconds=float(number) * _UNITS[unit])
        raise ConfigError(
            f"--checkpoint-interval {self.checkpoint_interval}: not a time (10min, "
            "90s, 2h) or a number of optimiser steps (500steps)"
        )


_SOURCE = (
    "a part file, a whole network (.safetensors or a state_dict in .pt), a checkpoint "
    "folder, or a run's folder (its best checkpoint). Names and shapes have to fit."
)


@dataclass(frozen=True)
class WarmStartConfig(Settings):
    """Saved parameters that a new run starts from; nothing else is taken over.

    The name of a field says which part of the network it fills.
    """

    resume_backbone_from: Path | None = setting(
        None,
        f"Start the (first) stage with the backbone's parameters of {_SOURCE}",
        WARM_START,
        metavar="PATH",
    )
    resume_reachable_head_from: Path | None = setting(
        None,
        f"Stage 1: start with the reachable squares head's parameters of {_SOURCE}",
        WARM_START,
        metavar="PATH",
    )
    resume_legal_moves_head_from: Path | None = setting(
        None,
        f"Stage 2: start with the legal moves head's parameters of {_SOURCE}",
        WARM_START,
        metavar="PATH",
    )
    resume_policy_head_from: Path | None = setting(
        None,
        f"Start with the policy head's parameters of {_SOURCE}",
        WARM_START,
        metavar="PATH",
    )
    resume_value_head_from: Path | None = setting(
        None,
        f"Start with the value head's parameters of {_SOURCE}",
        WARM_START,
        metavar="PATH",
    )
