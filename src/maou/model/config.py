"""Which network is built, and how large it is."""

from dataclasses import dataclass

from maou.errors import ConfigError
from maou.settings import STAGES, Settings, setting, settings_of

_GROUP = "Model architecture"
_FREEZING = "Freezing and warm start"

# The names stand here, away from the classes, so that the command line can list
# them without importing torch. `maou.model.registry` is checked against these.
RESNET, MLP_MIXER, VIT = BACKBONE_NAMES = ("resnet", "mlp-mixer", "vit")

_SIZE_PREFIXES = {RESNET: "resnet_", MLP_MIXER: "mixer_", VIT: "vit_"}
"""How the names of an architecture's own settings begin."""


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
    mixer_embed_dim: int = setting(
        384,
        "MLP-Mixer: number of channels of every square.",
        _GROUP,
        minimum=1,
    )
    mixer_num_layers: int = setting(
        6,
        "MLP-Mixer: number of blocks (one MLP across the squares, one across the "
        "channels).",
        _GROUP,
        minimum=1,
    )
    mixer_token_dim: int = setting(
        192,
        "MLP-Mixer: hidden width of the MLP across the squares.",
        _GROUP,
        minimum=1,
    )
    mixer_mlp_ratio: float = setting(
        4.0,
        "MLP-Mixer: hidden width of the MLP across the channels, as a multiple of "
        "--mixer-embed-dim.",
        _GROUP,
        above=0.0,
    )
    mixer_dropout: float = setting(
        0.1,
        "MLP-Mixer: share of the values of each MLP's output that is dropped while "
        "training.",
        _GROUP,
        minimum=0.0,
        below=1.0,
    )
    vit_embed_dim: int = setting(
        512,
        "ViT: number of channels of every square; a multiple of --vit-num-heads.",
        _GROUP,
        minimum=1,
    )
    vit_num_layers: int = setting(
        6,
        "ViT: number of encoder blocks (attention and an MLP each).",
        _GROUP,
        minimum=1,
    )
    vit_num_heads: int = setting(
        8,
        "ViT: number of attention heads.",
        _GROUP,
        minimum=1,
    )
    vit_mlp_ratio: float = setting(
        4.0,
        "ViT: hidden width of the MLPs, as a multiple of --vit-embed-dim.",
        _GROUP,
        above=0.0,
    )
    vit_dropout: float = setting(
        0.1,
        "ViT: share of the values of each attention's and MLP's output that is "
        "dropped while training.",
        _GROUP,
        minimum=0.0,
        below=1.0,
    )
    gradient_checkpointing: bool = setting(
        False,
        "Keep only the blocks' inputs in memory and compute the rest again in the "
        "backward pass: less memory, about a third more work, the same gradients.",
        _GROUP,
    )

    def check(self) -> None:
        """Check that the chosen architecture's sizes fit each other.

        Raises:
            ConfigError: the heads cannot share the channels evenly, or an MLP would
                have no hidden width.
        """
        chosen = self.model_architecture
        if chosen == VIT and self.vit_embed_dim % self.vit_num_heads:
            raise ConfigError(
                f"--vit-embed-dim {self.vit_embed_dim} is not a multiple of "
                f"--vit-num-heads {self.vit_num_heads}: the heads share the channels "
                "evenly"
            )
        widths = {
            VIT: ("vit", self.vit_embed_dim * self.vit_mlp_ratio),
            MLP_MIXER: ("mixer", self.mixer_embed_dim * self.mixer_mlp_ratio),
        }
        if chosen in widths:
            prefix, width = widths[chosen]
            if round(width) < 1:
                raise ConfigError(
                    f"--{prefix}-mlp-ratio times --{prefix}-embed-dim is {width:g}: "
                    "the MLPs need a hidden width of at least 1"
                )

    def sizes_of_others(self) -> frozenset[str]:
        """Name the settings that only architectures other than the chosen one read."""
        others = tuple(
            prefix
            for name, prefix in _SIZE_PREFIXES.items()
            if name != self.model_architecture
        )
        return frozenset(
            bound.name
            for bound in settings_of(type(self))
            if bound.name.startswith(others)
        )


@dataclass(frozen=True)
class LegalMovesHeadConfig(Settings):
    """The head of stage 2."""

    stage2_hidden_dim: int | None = setting(
        None,
        "Hidden width of stage 2's head, a square; 512 is recommended where the head "
        "is to have a hidden layer.",
        STAGES,
        minimum=1,
        shown_default="a single linear layer",
    )
    stage2_head_dropout: float = setting(
        0.0,
        "Share of the hidden values of stage 2's head that is dropped while training; "
        "only with --stage2-hidden-dim.",
        STAGES,
        minimum=0.0,
        below=1.0,
    )

    def check(self) -> None:
        """Check that there is something to drop.

        Raises:
            ConfigError: dropout is set without a hidden layer.
        """
        if self.stage2_head_dropout and self.stage2_hidden_dim is None:
            raise ConfigError(
                f"--stage2-head-dropout {self.stage2_head_dropout:g} drops values of "
                "the hidden layer, which the head of stage 2 has only with "
                "--stage2-hidden-dim; give that too, or leave the dropout out"
            )


@dataclass(frozen=True)
class FreezeConfig(Settings):
    """Which part of the backbone keeps the parameters that it starts with."""

    freeze_backbone: bool = setting(
        False,
        "Train the heads only: embedding, hand projection, all layer groups and the "
        "final norm keep their parameters.",
        _FREEZING,
    )
    trainable_layers: int | None = setting(
        None,
        "Train only the last N layer groups of the backbone (resnet: stages; "
        "mlp-mixer and vit: blocks) with its final norm, and the heads. 0 is "
        "--freeze-backbone.",
        _FREEZING,
        minimum=0,
        metavar="N",
        shown_default="all, and what comes before them",
    )

    def check(self) -> None:
        """Check that the two settings do not contradict each other.

        Raises:
            ConfigError: everything is to be frozen and some layers to be trained.
        """
        if self.freeze_backbone and self.trainable_layers:
            raise ConfigError(
                f"--trainable-layers {self.trainable_layers} contradicts "
                "--freeze-backbone, which trains no layer of the backbone; give one "
                "of them"
            )

    @property
    def trainable_groups(self) -> int | None:
        """Number of trailing layer groups to train; None trains the whole backbone."""
        return 0 if self.freeze_backbone else self.trainable_layers
