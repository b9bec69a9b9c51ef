"""What every backbone architecture offers: a map of the 81 squares to themselves.

Shapes: B batch, S 81 squares (row-major), C channels.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from maou.model.config import ModelConfig


class Trunk(nn.Module, ABC):
    """The part of a backbone that differs between architectures."""

    channels: int
    """C, the width of what comes in and goes out."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: ModelConfig) -> Self:
        """Build the trunk in the sizes that the configuration gives."""

    @abstractmethod
    def groups(self) -> Sequence[nn.Module]:
        """List the layer groups from input to output; together they are the trunk."""

    @abstractmethod
    def forward(self, squares_BSC: Tensor) -> Tensor:
        """Map [B, S, C] to [B, S, C]; not yet normalised."""


def apply_blocks(
    blocks: Iterable[nn.Module], squares_BSC: Tensor, *, checkpointing: bool
) -> Tensor:
    """Apply blocks one after another; with checkpointing, keep only their inputs.

    What a block draws at random (dropout) it draws again alike in the backward pass.
    """
    for block in blocks:
        if checkpointing and torch.is_grad_enabled():
            squares_BSC = checkpoint(block, squares_BSC, use_reentrant=False)
        else:
            squares_BSC = block(squares_BSC)
    return squares_BSC


class BlockTrunk(Trunk):
    """A trunk of blocks on square tokens, each a layer group of its own."""

    def __init__(
        self, channels: int, blocks: Iterable[nn.Module], *, checkpointing: bool
    ) -> None:
        super().__init__()
        self.channels = channels
        self.blocks = nn.ModuleList(blocks)
        self._checkpointing = checkpointing

    def groups(self) -> Sequence[nn.Module]:
        """List the blocks."""
        return list(self.blocks)

    def forward(self, squares_BSC: Tensor) -> Tensor:
        """Map [B, S, C] to [B, S, C]."""
        return apply_blocks(self.blocks, squares_BSC, checkpointing=self._checkpointing)
