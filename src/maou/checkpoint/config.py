"""Where networks are kept, and which saved ones a run starts from."""

from dataclasses import dataclass
from pathlib import Path

from maou.settings import Settings, setting

OUTPUT = "Output"
WARM_START = "Freezing and warm start"


@dataclass(frozen=True)
class CheckpointConfig(Settings):
    """The folder of the runs' checkpoints and exported models."""

    model_dir: Path = setting(
        Path("models"),
        "Folder for checkpoints and ONNX models, one folder a run; made if missing.",
        OUTPUT,
        metavar="PATH",
    )
    save_split_params: bool = setting(
        False,
        "Write each part of the network to a file of its own as well, inside every "
        "checkpoint: backbone.safetensors and one file a head.",
        OUTPUT,
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
