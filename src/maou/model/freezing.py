"""Freezing: parts of the backbone that keep the parameters they start with.

A frozen part requires no gradient, so the optimiser never sees it, and it runs in
evaluation mode even while the rest trains (no dropout; running statistics, where a part
has them, stay).
"""

from typing import NamedTuple

from torch import nn

from maou.errors import ConfigError
from maou.model.config import FreezeConfig
from maou.model.network import BackboneNetwork


def freeze(network: BackboneNetwork, config: FreezeConfig) -> None:
    """Freeze what the configuration says.

    Raises:
        ConfigError: more layer groups are to be trained than there are.
    """
    trainable = config.trainable_groups
    if trainable is None:
        return
    backbone = network.backbone
    groups = backbone.groups()
    if trainable > len(groups):
        raise ConfigError(
            f"--trainable-layers {trainable}: this "
            f"{network.config.model_architecture} backbone has {len(groups)} layer "
            f"groups; give at most {len(groups)}, or leave the flag out to train all"
        )
    frozen = [backbone.embedding, backbone.hand_projection]
    frozen += groups[: len(groups) - trainable]
    if trainable == 0:
        frozen.append(backbone.final_norm)
    backbone.freeze(frozen)


class PartSize(NamedTuple):
    """A part of a network, how many parameters it has, and whether they change."""

    name: str
    parameters: int
    trainable: bool


def part_sizes(network: BackboneNetwork) -> list[PartSize]:
    """List the parts from input to output; neighbouring groups of one kind as one."""
    backbone = network.backbone
    groups = backbone.groups()
    frozen = [group for group in groups if not _is_trainable(group)]
    trainable = [group for group in groups if _is_trainable(group)]
    sizes = [
        _size("embedding", backbone.embedding),
        _size("hand projection", backbone.hand_projection),
    ]
    if frozen:
        sizes.append(_size(_range(1, len(frozen)), *frozen))
    if trainable:
        sizes.append(_size(_range(len(frozen) + 1, len(groups)), *trainable))
    sizes.append(_size("final norm", backbone.final_norm))
    heads = (item for item in network.named_children() if item[1] is not backbone)
    return sizes + [_size(name.replace("_", " "), head) for name, head in heads]


def _range(first: int, last: int) -> str:
    return f"groups {first}-{last}" if last > first else f"group {first}"


def _size(name: str, *modules: nn.Module) -> PartSize:
    count = sum(p.numel() for module in modules for p in module.parameters())
    return PartSize(name, count, _is_trainable(modules[0]))


def _is_trainable(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
