"""The `resnet` backbone: residual blocks of two 3x3 convolutions on the whole board.

Shapes: B batch, S 81 squares, C channels; planes are [B, C, 9, 9], row = rank.

The board keeps its 9x9 resolution throughout. There is no normalisation inside: the
convolutions standardise their kernels instead (docs/decisions/0001).
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from torch.utils.checkpoint import checkpoint

from maou.model.config import ModelConfig
from maou.model.convolution import SILU_GAIN, StandardizedConv2d
from maou.model.trunk import Trunk

_STAGES = 4  # as the ResNets of He et al. 2016 have; here all of one resolution
_SQUEEZE = 4  # channels per hidden unit of the squeeze; Lc0's T40 nets: 256 to 64


class ResNet(Trunk):
    """Residual blocks, in up to four stages of (nearly) equal depth."""

    def __init__(self, blocks: int, channels: int, *, checkpointing: bool) -> None:
        super().__init__()
        self.channels = channels
        count = min(_STAGES, blocks)
        depths = [(blocks + i) // count for i in range(count)]
        self.stages = nn.ModuleList(
            Stage(depth, channels, checkpointing=checkpointing) for depth in depths
        )

    @classmethod
    def from_config(cls, config: ModelConfig) -> Self:
        """Build it with the `--resnet-*` sizes."""
        return cls(
            config.resnet_blocks,
            config.resnet_channels,
            checkpointing=config.gradient_checkpointing,
        )

    def groups(self) -> Sequence[nn.Module]:
        """List the stages."""
        return list(self.stages)

    def forward(self, squares_BSC: Tensor) -> Tensor:
        """Map [B, S, C] to [B, S, C].

        Square-major vectors are planes in channels-last memory, the layout that
        convolutions are fastest in; neither conversion copies.
        """
        batch, squares, channels = squares_BSC.shape
        planes = squares_BSC.view(batch, 9, 9, channels).permute(0, 3, 1, 2)
        for stage in self.stages:
            planes = stage(planes)
        return planes.permute(0, 2, 3, 1).reshape(batch, squares, channels)


class Stage(nn.Module):
    """A run of residual blocks, frozen or trained together."""

    def __init__(self, depth: int, channels: int, *, checkpointing: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(channels) for _ in range(depth))
        self._checkpointing = checkpointing

    def forward(self, planes: Tensor) -> Tensor:
        """Apply the blocks; with checkpointing, keep only their inputs."""
        for block in self.blocks:
            if self._checkpointing and torch.is_grad_enabled():
                # Nothing in a block is random, so no generator state is kept.
                planes = checkpoint(
                    block, planes, use_reentrant=False, preserve_rng_state=False
                )
            else:
                planes = block(planes)
        return planes


class ResidualBlock(nn.Module):
    """x + conv(silu(context(conv(silu(x))))); at first the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = StandardizedConv2d(channels, channels, 3, gain=SILU_GAIN)
        self.context = SqueezeExcitation(channels)
        # Gain 0: each block starts as the identity (SkipInit, De & Smith 2020).
        self.conv2 = StandardizedConv2d(channels, channels, 3, gain=0.0)

    def forward(self, planes: Tensor) -> Tensor:
        """Map [B, C, 9, 9] to [B, C, 9, 9]."""
        inner: Tensor = self.context(self.conv1(silu(planes)))
        change: Tensor = self.conv2(silu(inner))
        return planes + change


class SqueezeExcitation(nn.Module):
    """Lets every square know of the whole board: a scale and a shift a channel.

    Hu et al. 2018 ("Squeeze-and-Excitation Networks") with the additive term of the
    Lc0 networks. At first it changes nothing.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(16, channels // _SQUEEZE)
        self.squeeze = nn.Linear(channels, hidden)
        self.scale = nn.Linear(hidden, channels)
        self.shift = nn.Linear(hidden, channels)
        for layer in (self.scale, self.shift):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, planes: Tensor) -> Tensor:
        """Map [B, C, 9, 9] to [B, C, 9, 9]."""
        hidden = silu(self.squeeze(planes.mean(dim=(2, 3))))
        # Twice the sigmoid, so that an output of 0 is the identity.
        scale: Tensor = 2.0 * torch.sigmoid(self.scale(hidden))
        shift: Tensor = self.shift(hidden)
        return planes * scale[:, :, None, None] + shift[:, :, None, None]
