"""Freezing: which parts, their mode, and what the optimiser is given."""

import pytest
import torch
from networks import SMALL, backward, small_config, trained_network
from torch import nn

from maou.errors import ConfigError
from maou.model.config import BACKBONE_NAMES, FreezeConfig
from maou.model.freezing import freeze, part_sizes
from maou.model.network import Network, build_network
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer

every = pytest.mark.parametrize("name", BACKBONE_NAMES)
GROUPS = 3


def frozen_network(name: str, **settings: object) -> Network:
    network = trained_network(name)
    freeze(network, FreezeConfig(**settings))  # type: ignore[arg-type]
    return network


def trainable_parts(network: Network) -> dict[str, bool]:
    backbone = network.backbone
    parts: dict[str, nn.Module] = {
        "embedding": backbone.embedding,
        "hand": backbone.hand_projection,
        **{f"group {i}": group for i, group in enumerate(backbone.groups())},
        "final": backbone.final_norm,
        "policy": network.policy_head,
        "value": network.value_head,
    }
    found = {}
    for part, module in parts.items():
        (found[part],) = {p.requires_grad for p in module.parameters()}
    return found


@every
@pytest.mark.parametrize("count", range(GROUPS + 1))
def test_the_last_groups_stay_trainable(name: str, count: int) -> None:
    found = trainable_parts(frozen_network(name, trainable_layers=count))
    assert found == {
        "embedding": False,
        "hand": False,
        **{f"group {i}": i >= GROUPS - count for i in range(GROUPS)},
        "final": count > 0,
        "policy": True,
        "value": True,
    }


@every
def test_freezing_the_backbone_leaves_the_heads(name: str) -> None:
    whole = trainable_parts(frozen_network(name, freeze_backbone=True))
    assert whole == trainable_parts(frozen_network(name, trainable_layers=0))
    both = frozen_network(name, freeze_backbone=True, trainable_layers=0)
    assert whole == trainable_parts(both)


@every
def test_nothing_is_frozen_by_default(name: str) -> None:
    assert all(trainable_parts(frozen_network(name)).values())


@every
def test_frozen_parts_get_no_gradient_and_no_optimiser(name: str) -> None:
    network = frozen_network(name, trainable_layers=1)
    optimizer = build_optimizer(network.named_parameters(), OptimConfig())
    given = {key for group in optimizer.param_groups for key in group["param_names"]}
    trainable = {key for key, p in network.named_parameters() if p.requires_grad}
    assert given == trainable
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    for _ in range(2):
        backward(network.train())
        optimizer.step()
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[key]) is (key not in trainable), key


@every
def test_frozen_parts_are_in_evaluation_mode_while_the_rest_trains(name: str) -> None:
    network = frozen_network(name, trainable_layers=1)
    groups = network.backbone.groups()
    for mode in (True, False, True):
        network.train(mode)
        for frozen in groups[:-1]:
            assert not any(module.training for module in frozen.modules())
        assert all(module.training is mode for module in groups[-1].modules())
        assert network.policy_head.training is mode
        assert not network.backbone.embedding.training


@pytest.mark.parametrize("name", ["mlp-mixer", "vit"])
def test_a_frozen_backbone_drops_nothing(name: str) -> None:
    board_BS = torch.ones(2, 81, dtype=torch.uint8)
    hand_BH = torch.zeros(2, 14, dtype=torch.uint8)
    network = frozen_network(name, freeze_backbone=True).train()
    first = network.backbone(board_BS, hand_BH).squares_BSC
    assert torch.equal(first, network.backbone(board_BS, hand_BH).squares_BSC)
    free = trained_network(name).train()
    first = free.backbone(board_BS, hand_BH).squares_BSC
    assert not torch.equal(first, free.backbone(board_BS, hand_BH).squares_BSC)


def test_a_frozen_batch_norm_keeps_its_statistics() -> None:
    """No backbone has one now; the rule is for those to come."""
    network = build_network(small_config("resnet"))
    norm = nn.BatchNorm1d(4)
    network.backbone.groups()[0].extra = norm  # type: ignore[assignment]
    freeze(network, FreezeConfig(trainable_layers=2))
    network.train()
    norm(torch.randn(8, 4))
    assert torch.equal(norm.running_mean, torch.zeros(4))  # type: ignore[arg-type]


@every
def test_more_groups_than_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--trainable-layers 4: this {name} back"):
        frozen_network(name, trainable_layers=4)


def test_contradicting_flags_are_named() -> None:
    with pytest.raises(ConfigError, match=r"--trainable-layers 2 .*--freeze-backbone"):
        FreezeConfig(freeze_backbone=True, trainable_layers=2)
    with pytest.raises(ConfigError, match="--trainable-layers: -1 is out of range"):
        FreezeConfig(trainable_layers=-1)


@every
def test_part_sizes_are_the_whole_network(name: str) -> None:
    network = frozen_network(name, trainable_layers=1)
    sizes = part_sizes(network)
    assert [size.name for size in sizes] == [
        "embedding",
        "hand projection",
        "groups 1-2",
        "group 3",
        "final norm",
        "policy head",
        "value head",
    ]
    assert [size.trainable for size in sizes] == [False] * 3 + [True] * 4
    whole = sum(p.numel() for p in network.parameters())
    assert sum(size.parameters for size in sizes) == whole
    assert set(SMALL) == set(BACKBONE_NAMES)
