"""Where networks are kept, and which saved ones a run starts from."""

import re
from dataclasses import dataclass
from pathlib import Path

from maou.errors import ConfigError
from maou.settings import Settings, setting
from maou.text import shortened

OUTPUT = "Output"
WARM_START = "Freezing and warm start"


_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Interval:
    """Time or steps between two checkpoints; the other one is None."""

    seconds: float | None = None
    steps: int | None = None


@dataclass(frozen=True)
class Keep:
    """Which checkpoints of a run are kept, besides the best by the deciding metric.

    Attributes:
        heads: the best by policy and by value too.
        last: how many of the newest; None for all there are.
    """

    heads: bool = True
    last: int | None = 1


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
    keep: str = setting(
        "best,best-per-head,last:1",
        "Which checkpoints to keep: best, best-per-head (by policy and by value), "
        "last:N (the newest N) or all. What a link names, or what going on from one "
        "of those needs, is never removed.",
        OUTPUT,
        metavar="LIST",
    )
    save_split_params: bool = setting(
        False,
        "Write each part of the network to a file of its own as well, inside every "
        "checkpoint: backbone.safetensors and one file a head.",
        OUTPUT,
    )

    def check(self) -> None:
        """Check that the interval and the list of what to keep can be read.

        Raises:
            ConfigError: one of them cannot.
        """
        self.interval, self.kept  # noqa: B018 - raise

    @property
    def interval(self) -> Interval:
        """The time or the steps between two checkpoints."""
        found = re.fullmatch(
            r"(\d{1,15}(?:\.\d{1,15})?) ?([a-z]+)", self.checkpoint_interval
        )
        number, unit = found.groups() if found else ("0", "")
        if unit in ("step", "steps") and number.isdecimal() and int(number):
            return Interval(steps=int(number))
        if unit in _UNITS and float(number):
            return Interval(seconds=float(number) * _UNITS[unit])
        raise ConfigError(
            f"--checkpoint-interval {shortened(self.checkpoint_interval, 40)}: not a "
            "time (10min, 90s, 2h) or a number of optimiser steps (500steps)"
        )

    @property
    def kept(self) -> Keep:
        """Which checkpoints are kept."""
        words = [word.strip() for word in self.keep.split(",")]
        last: int | None = 1
        for word in words:
            found = re.fullmatch(r"last(?::([1-9]\d{0,14}))?", word)
            if found:
                last = int(found[1] or 1)
            elif word not in ("best", "best-per-head", "all"):
                raise ConfigError(
                    f"--keep {shortened(self.keep, 40)}: {shortened(word, 40)!r} is "
                    "not best, best-per-head, last:N (N from 1) or all"
                )
        if not {"best", "best-per-head", "all"} & set(words):
            raise ConfigError(
                f"--keep {self.keep}: leaves out the best one, which is what a run is "
                f"for; write --keep best,{self.keep}"
            )
        everything = "all" in words
        heads = everything or "best-per-head" in words
        return Keep(heads, None if everything else last)


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
