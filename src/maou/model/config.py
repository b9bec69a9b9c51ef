"""Which network is built, and how large it is."""

from dataclasses import dataclass

from maou.settings import Settings, setting

_GROUP = "Model architecture"

# The names stand here, away from the classes, so that the command line can list
# them without importing torch. `maou.model.registry` is checked against this tuple.
BACKBONE_NAMES: tuple[str, ...] = ("resnet",)


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The architecture and its sizes; `docs/networks.md` describes them."""

    model_architecture: str = setting(
        "resnet",
        "Backbone of the network.",
        _GROUP,
        choices=BACKBONE_NAMES,
    )
    resnet_blocks: int = setting(
        10,
        "ResNet: number of residual blocks (two 3x3 convolutions each).",
        _GROUP,
        minimum=1,
    )
    resnet_channels: int = setting(
        192,
        "ResNet: number of channels of every square.",
        _GROUP,
        minimum=1,
    )
    gradient_checkpointing: bool = setting(
        False,
        "Keep only the blocks' inputs in memory and compute the rest again in the "
        "backward pass: less memory, about a third more work, the same gradients.",
        _GROUP,
    )
