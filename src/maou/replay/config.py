"""What `maou utility replay` does with a bundle."""

from dataclasses import dataclass
from pathlib import Path

from maou.settings import Settings, setting

WORK, OUTPUT = "Work", "Output"


@dataclass(frozen=True, kw_only=True)
class ReplayConfig(Settings):
    """Where to make the step again, and where the report goes."""

    bundle: Path
    """The command's argument: the folder of a broken step."""

    gpu: str | None = setting(
        None,
        "Device: cuda:0, cpu or any other name that torch knows.",
        WORK,
        metavar="DEVICE",
        shown_default="the one of the run if it is present, else cpu",
    )
    detect_anomaly: bool = setting(
        True,
        "Make the step once more in torch's anomaly mode, which names the operation "
        "whose gradient is NaN.",
        WORK,
    )
    json: Path | None = setting(
        None,
        "Also write the report to this file as JSON; - writes it to stdout instead of "
        "the text.",
        OUTPUT,
        metavar="PATH",
    )
