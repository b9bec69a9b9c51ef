"""How long and on what a network is trained."""

from dataclasses import dataclass

from maou.optim.config import SCHEDULES
from maou.settings import STAGES, Settings, setting

TRAINING = "Training"
HARDWARE = "Hardware and performance"

AUTO = "auto"
PRECISIONS = (AUTO, "fp32", "bf16", "fp16")


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
    skip_loss_spikes: float | None = setting(
        None,
        "Do not apply the update of a step whose loss is above so many times the "
        "median of the latest 100; such steps are counted.",
        TRAINING,
        metavar="FACTOR",
        above=1.0,
        shown_default="report them, above 2, and apply them",
    )
    gpu: str | None = setting(
        None,
        "Device: cuda:0, cpu or any other name that torch knows.",
        HARDWARE,
        metavar="DEVICE",
        shown_default="cuda:0 when present, else cpu",
    )
    precision: str = setting(
        AUTO,
        "Type of the forward pass: fp32, or autocast to bf16 or fp16; losses and "
        "weights stay fp32. fp16 scales the loss and skips steps that overflow.",
        HARDWARE,
        choices=PRECISIONS,
        shown_default="auto: on CUDA bf16, or fp16 where the GPU has no bf16; else "
        "fp32",
    )
    compilation: bool = setting(
        False,
        "Compile the network with torch.compile before the first step.",
        HARDWARE,
    )
    detect_anomaly: bool = setting(
        False,
        "Stop at the first operation whose gradient is NaN and name it; with fp16 that "
        "may be a mere overflow. Slow.",
        HARDWARE,
    )


@dataclass(frozen=True)
class StageConfig(Settings):
    """Which stages run, and how stages 1 and 2 differ from stage 3."""

    stage: str | None = setting(
        None,
        "1: which squares a piece reaches. 2: which moves are legal. 3: policy and "
        "value, from preprocess records only. all: one after the other, each with the "
        "backbone of the one before.",
        STAGES,
        choices=("1", "2", "3", "all"),
        shown_default="3; without any stage flag it also reads hcpe",
    )
    stage1_threshold: float = setting(
        0.99,
        "Element accuracy (share of squares that are right) at which stage 1 is "
        "complete.",
        STAGES,
        above=0.0,
        maximum=1.0,
    )
    stage2_threshold: float = setting(
        0.85,
        "Mean F1 of the legal moves at which stage 2 is complete.",
        STAGES,
        above=0.0,
        maximum=1.0,
    )
    stage1_max_epochs: int = setting(
        10, "Passes over the stage 1 cases, at most.", STAGES, minimum=1
    )
    stage2_max_epochs: int = setting(
        10, "Passes over the stage 2 positions, at most.", STAGES, minimum=1
    )
    stage1_batch_size: int | None = setting(
        None,
        "Batch size of stage 1; 32 suits its 1,105 cases.",
        STAGES,
        minimum=1,
        shown_default="--batch-size",
    )
    stage2_batch_size: int | None = setting(
        None,
        "Batch size of stage 2; 64 suits 50,000 positions.",
        STAGES,
        minimum=1,
        shown_default="--batch-size",
    )
    stage1_learning_rate: float | None = setting(
        None,
        "Learning rate of stage 1.",
        STAGES,
        above=0.0,
        shown_default="--learning-ratio",
    )
    stage2_learning_rate: float | None = setting(
        None,
        "Learning rate of stage 2.",
        STAGES,
        above=0.0,
        shown_default="--learning-ratio",
    )
    stage12_lr_scheduler: str = setting(
        "auto",
        "Course of the learning rate in stages 1 and 2; none keeps it fixed, auto is "
        "Warmup+CosineDecay for a batch size above 256 and else none.",
        STAGES,
        choices=("auto", *SCHEDULES),
    )
    stage12_compilation: bool = setting(
        False,
        "Compile the networks of stages 1 and 2 with torch.compile.",
        STAGES,
    )
