"""Parameter groups, settings, and the learning rate at its ends."""

import pytest
import torch
from torch.optim import SGD, AdamW

from maou.errors import ConfigError
from maou.model.config import ModelConfig
from maou.model.network import build_network
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer, set_learning_rate
from maou.optim.schedule import learning_rate_at, warmup_steps

NETWORK = build_network(ModelConfig(resnet_blocks=1, resnet_channels=16))


def test_groups() -> None:
    config = OptimConfig(weight_decay=0.03)
    optimizer = build_optimizer(NETWORK.named_parameters(), config)
    decayed, plain = optimizer.param_groups
    assert isinstance(optimizer, AdamW)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.03, 0.0)
    assert decayed["lr"] == plain["lr"] == 0.01
    names = {name for name, _ in NETWORK.named_parameters()}
    assert set(decayed["param_names"]) | set(plain["param_names"]) == names
    assert len(decayed["params"]) + len(plain["params"]) == len(names)
    assert all(p.ndim >= 2 for p in decayed["params"])
    for kept in (
        "backbone.embedding.pieces.weight",
        "backbone.embedding.square_bias_SC",
        "backbone.final_norm.gain",
        "policy_head.label_bias_M",
    ):
        assert kept in plain["param_names"]
    for shrunk in (
        "backbone.hand_projection.linear.weight",
        "backbone.trunk.stages.0.blocks.0.conv1.weight",
        "backbone.trunk.stages.0.blocks.0.context.shift.weight",
        "policy_head.classes.weight",
        "value_head.hidden.weight",
    ):
        assert shrunk in decayed["param_names"]


def test_frozen_parameters_are_left_out() -> None:
    network = build_network(ModelConfig(resnet_blocks=1, resnet_channels=16))
    network.backbone.requires_grad_(False)
    optimizer = build_optimizer(network.named_parameters(), OptimConfig())
    named = [name for g in optimizer.param_groups for name in g["param_names"]]
    assert named
    assert not any(name.startswith("backbone.") for name in named)
    network.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        build_optimizer(network.named_parameters(), OptimConfig())


def test_settings_reach_the_optimisers() -> None:
    config = OptimConfig(
        optimizer_beta1=0.8, optimizer_beta2=0.9, optimizer_eps=1e-5, momentum=0.3
    )
    (group, _) = build_optimizer(NETWORK.named_parameters(), config).param_groups
    assert group["betas"] == (0.8, 0.9)
    assert group["eps"] == 1e-5
    config = OptimConfig(optimizer="SGD", momentum=0.3)
    optimizer = build_optimizer(NETWORK.named_parameters(), config)
    assert isinstance(optimizer, SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.3


def test_set_learning_rate() -> None:
    optimizer = build_optimizer(NETWORK.named_parameters(), OptimConfig())
    set_learning_rate(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adam"}, "--optimizer.*Did you mean adamw"),
        ({"lr_scheduler": "warmup-cosin"}, r"Did you mean Warmup\+CosineDecay"),
        ({"learning_rate": 0.0}, "--learning-ratio: 0.0"),
        ({"momentum": 1.5}, "--momentum: 1.5"),
        ({"optimizer_beta1": 0.0}, "--optimizer-beta1: 0.0"),
        ({"optimizer_beta2": 1.0}, "--optimizer-beta2: 1.0"),
        ({"optimizer_eps": 0.0}, "--optimizer-eps: 0.0"),
        ({"weight_decay": -1.0}, "--weight-decay: -1.0"),
        ({"optimizer_beta1": 0.999}, "--optimizer-beta1 0.999 must be below"),
    ],
)
def test_settings_that_cannot_be_meant(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        OptimConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["warmup_cosine-decay", "WARMUP COSINEDECAY"])
def test_schedule_names_ignore_case_and_punctuation(name: str) -> None:
    assert OptimConfig(lr_scheduler=name).lr_scheduler == "Warmup+CosineDecay"


@pytest.mark.parametrize(
    ("total", "warmup"), [(1, 1), (9, 1), (19, 1), (20, 2), (1005, 100)]
)
def test_warm_up_is_a_tenth_and_at_least_one_step(total: int, warmup: int) -> None:
    assert warmup_steps(total) == warmup
    rates = [learning_rate_at(step, total, OptimConfig()) for step in range(total)]
    assert rates[0] == pytest.approx(0.01 / warmup)
    assert rates[warmup - 1] == max(rates) == 0.01
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert all(rate > 0 for rate in rates)


@pytest.mark.parametrize("name", ["Warmup+CosineDecay", "CosineAnnealingLR"])
def test_the_ends_of_a_run(name: str) -> None:
    config = OptimConfig(lr_scheduler=name)
    assert learning_rate_at(0, 1, config) == 0.01
    assert learning_rate_at(100, 100, config) == 0.0
    assert learning_rate_at(150, 100, config) == 0.0
    assert learning_rate_at(99, 100, config) < 1e-5
    for step, total in ((-1, 10), (0, 0)):
        with pytest.raises(ValueError, match="no learning rate"):
            learning_rate_at(step, total, config)


def test_state_survives_by_name() -> None:
    optimizer = build_optimizer(NETWORK.named_parameters(), OptimConfig())
    state = optimizer.state_dict()
    named = [name for g in state["param_groups"] for name in g["param_names"]]
    assert sorted(named) == sorted(name for name, _ in NETWORK.named_parameters())
    assert torch.is_tensor(optimizer.param_groups[0]["params"][0])


def test_without_a_schedule_the_rate_is_always_the_highest() -> None:
    config = OptimConfig(learning_rate=0.3, lr_scheduler="none")
    assert {learning_rate_at(step, 40, config) for step in range(40)} == {0.3}
    assert learning_rate_at(0, 1, config) == 0.3
    assert learning_rate_at(40, 40, config) == 0.0  # no step of the planned run
