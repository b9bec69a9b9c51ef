"""Layers whose weights are computed, and their plain form for inference."""

from abc import ABC, abstractmethod

from torch import nn


class Foldable(nn.Module, ABC):
    """A layer that computes its weights from its parameters."""

    @abstractmethod
    def to_plain(self) -> nn.Module:
        """Make the ordinary layer that computes the same."""


def fold(module: nn.Module) -> None:
    """Replace the layers with computed weights inside a module by ordinary ones."""
    for name, child in module.named_children():
        if isinstance(child, Foldable):
            setattr(module, name, child.to_plain())
        else:
            fold(child)
