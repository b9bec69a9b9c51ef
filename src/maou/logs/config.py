"""Where a run writes down what happens."""

from dataclasses import dataclass
from pathlib import Path

from maou.settings import Settings, setting

OUTPUT = "Output"


@dataclass(frozen=True)
class LogConfig(Settings):
    """TensorBoard, the metrics file and the lines on the terminal."""

    log_dir: Path = setting(
        Path("logs"),
        "Folder for TensorBoard runs, one folder a run; made if missing.",
        OUTPUT,
        metavar="PATH",
    )
    health_interval: float = setting(
        10.0,
        "Seconds between two progress lines, which also go to TensorBoard.",
        OUTPUT,
        above=0,
    )
    tensorboard_histogram_frequency: int = setting(
        0,
        "Every so many epochs, write histograms of parameters and gradients to "
        "TensorBoard; 0 writes none.",
        OUTPUT,
        minimum=0,
    )
    tensorboard_histogram_module: tuple[str, ...] = setting(
        (),
        "Only parameters whose names match this pattern, such as 'policy_head.*'.",
        OUTPUT,
        metavar="PATTERN",
        shown_default="all parameters",
    )
