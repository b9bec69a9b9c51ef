"""How the parameters are moved: the optimiser and its learning-rate schedule."""

from dataclasses import dataclass

from maou.errors import ConfigError
from maou.settings import Settings, setting

_GROUP = "Loss, optimizer, and scheduler"

ADAMW, SGD = OPTIMIZERS = ("adamw", "sgd")
WARMUP_COSINE, COSINE_ANNEALING, CONSTANT = SCHEDULES = (
    "Warmup+CosineDecay",
    "CosineAnnealingLR",
    "none",
)


@dataclass(frozen=True)
class OptimConfig(Settings):
    """The optimiser, its constants, and the course of the learning rate."""

    learning_rate: float = setting(
        0.01,
        "Highest learning rate of the run; the schedule scales it.",
        _GROUP,
        flag="--learning-ratio",
        above=0.0,
    )
    optimizer: str = setting("adamw", "Optimiser.", _GROUP, choices=OPTIMIZERS)
    momentum: float = setting(
        0.9,
        "SGD: momentum.",
        _GROUP,
        minimum=0.0,
        maximum=1.0,
    )
    optimizer_beta1: float = setting(
        0.9,
        "AdamW: decay of the gradient's running mean; below beta2.",
        _GROUP,
        above=0.0,
        below=1.0,
    )
    optimizer_beta2: float = setting(
        0.999,
        "AdamW: decay of the squared gradient's running mean.",
        _GROUP,
        above=0.0,
        below=1.0,
    )
    optimizer_eps: float = setting(
        1e-8,
        "AdamW: added to the denominator of the update.",
        _GROUP,
        above=0.0,
    )
    weight_decay: float = setting(
        0.01,
        "Weight decay of matrices and convolution kernels; biases, norms and "
        "embeddings are never decayed. AdamW decouples it from the gradient.",
        _GROUP,
        minimum=0.0,
    )
    lr_scheduler: str = setting(
        WARMUP_COSINE,
        "Course of the learning rate over all optimiser steps of the run: a linear "
        "warm-up over the first tenth, then a cosine to 0; a cosine throughout; or "
        "none, always the highest.",
        _GROUP,
        choices=SCHEDULES,
    )

    def check(self) -> None:
        """Check that the running mean of squares is the slower one.

        Raises:
            ConfigError: beta1 is not below beta2.
        """
        if self.optimizer_beta1 >= self.optimizer_beta2:
            raise ConfigError(
                f"--optimizer-beta1 {self.optimizer_beta1} must be below "
                f"--optimizer-beta2 {self.optimizer_beta2}: 0 < beta1 < beta2 < 1"
            )
