"""Where networks are kept."""

from dataclasses import dataclass
from pathlib import Path

from maou.settings import Settings, setting

OUTPUT = "Output"


@dataclass(frozen=True)
class CheckpointConfig(Settings):
    """The folder of the runs' checkpoints and exported models."""

    model_dir: Path = setting(
        Path("models"),
        "Folder for checkpoints and ONNX models, one folder a run; made if missing.",
        OUTPUT,
        metavar="PATH",
    )
