"""How long and on what a network is trained."""

from dataclasses import dataclass

from maou.settings import Settings, setting

TRAINING = "Training"
HARDWARE = "Hardware and performance"


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Epochs, accumulation, and the device."""

    epochs: int = setting(
        10,
        "Passes over the training rows.",
        TRAINING,
        flag="--epoch",
        minimum=1,
    )
    start_epoch: int = setting(
        0,
        "Offset of the epoch counter: epochs are numbered from this plus one, and "
        "--epoch passes are made all the same.",
        TRAINING,
        minimum=0,
    )
    gradient_accumulation_steps: int = setting(
        1,
        "Batches whose gradients are summed for one optimiser step; the effective "
        "batch is this times --batch-size.",
        TRAINING,
        minimum=1,
    )
    early_stopping_patience: int | None = setting(
        None,
        "Stop when so many epochs in a row have not improved the validation loss.",
        TRAINING,
        minimum=1,
        shown_default="never stop early",
    )
    early_stopping_metric: str = setting(
        "total",
        "The validation loss that --early-stopping-patience watches.",
        TRAINING,
        choices=("total", "policy", "value"),
    )
    gpu: str | None = setting(
        None,
        "Device: cuda:0, cpu or any other name that torch knows.",
        HARDWARE,
        metavar="DEVICE",
        shown_default="cuda:0 when present, else cpu",
    )
    compilation: bool = setting(
        False,
        "Compile the network with torch.compile before the first step.",
        HARDWARE,
    )
    detect_anomaly: bool = setting(
        False,
        "Stop at the first operation whose gradient is NaN and name it. Slow.",
        HARDWARE,
    )
