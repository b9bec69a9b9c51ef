"""What a run exports besides its checkpoints."""

from dataclasses import dataclass

from maou.settings import Settings, setting

OUTPUT = "Output"


@dataclass(frozen=True)
class ExportConfig(Settings):
    """The model for other programs."""

    export_onnx: bool = setting(
        True,
        "At the end, export the best network as best.onnx and compare it with its "
        "checkpoint. It takes a few seconds, which quick trials can save.",
        OUTPUT,
    )
