"""The losses: limits, soft targets, weights, and what is refused."""

import math

import pytest
import torch

from maou.errors import ConfigError
from maou.losses.config import LossConfig
from maou.losses.policy import policy_loss
from maou.losses.total import Targets, total_loss
from maou.losses.value import value_loss
from maou.model.network import Outputs

LOGITS = torch.randn(6, 1496, generator=torch.Generator().manual_seed(0)) * 3
LABELS = torch.tensor([0, 1495, 7, 7, 800, 1000])


def test_default_q_of_the_function_and_of_the_setting() -> None:
    assert torch.equal(policy_loss(LOGITS, LABELS), policy_loss(LOGITS, LABELS, q=0.7))
    assert LossConfig().gce_parameter == 0.1


def test_one_hot_targets_equal_labels() -> None:
    one_hot = torch.nn.functional.one_hot(LABELS, 1496)
    for dtype in (torch.float16, torch.float32):
        soft = policy_loss(LOGITS, one_hot.to(dtype), q=0.3)
        torch.testing.assert_close(soft, policy_loss(LOGITS, LABELS, q=0.3))


def test_q_1_is_the_missing_probability() -> None:
    p = LOGITS.softmax(dim=1).gather(1, LABELS[:, None])[:, 0]
    torch.testing.assert_close(policy_loss(LOGITS, LABELS, q=1.0), 1 - p)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(dtype: torch.dtype) -> None:
    half = LOGITS.to(dtype)
    got = policy_loss(half, LABELS, q=0.1)
    assert got.dtype == torch.float32
    assert torch.equal(got, policy_loss(half.float(), LABELS, q=0.1))
    assert value_loss(half[:, 0], torch.ones(6).to(dtype)).dtype == torch.float32


@pytest.mark.parametrize("q", [1e-6, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("soft", [False, True])
def test_hopeless_and_certain_logits_have_finite_gradients(
    q: float, soft: bool
) -> None:
    logits = torch.full((2, 1496), -1e4)
    logits[:, 3] = 1e4
    logits.requires_grad_()
    target = torch.tensor([3, 4])
    chosen = torch.nn.functional.one_hot(target, 1496).float() if soft else target
    loss = policy_loss(logits, chosen, q=q)
    loss.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(loss).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("q", [0.0, -0.1, 1.01, math.nan])
def test_q_outside_its_range_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="q of the generalised"):
        policy_loss(LOGITS, LABELS, q=q)
    with pytest.raises(ConfigError, match="--gce-parameter"):
        LossConfig(gce_parameter=q)


@pytest.mark.parametrize("field", ["policy_loss_ratio", "value_loss_ratio"])
def test_ratios_are_positive(field: str) -> None:
    with pytest.raises(ConfigError, match=f"--{field.replace('_', '-')}"):
        LossConfig(**{field: 0.0})


@pytest.mark.parametrize(
    "target",
    [
        LABELS.int(),
        LABELS[:5],
        torch.zeros(6, 1495),
        torch.zeros(6, 1496, dtype=torch.int64),
    ],
)
def test_a_target_of_another_form_is_refused(target: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="policy target"):
        policy_loss(LOGITS, target, q=0.5)


def test_total_is_the_weighted_sum_of_each_row() -> None:
    config = LossConfig(gce_parameter=0.4, policy_loss_ratio=0.25, value_loss_ratio=3.0)
    outputs = Outputs(LOGITS, LOGITS[:, 0])
    targets = Targets(LABELS, torch.tensor([0.0, 0.5, 1.0, 0.0, 1.0, 0.7]))
    losses = total_loss(outputs, targets, config)
    assert torch.equal(losses.policy_B, policy_loss(LOGITS, LABELS, q=0.4))
    assert torch.equal(losses.value_B, value_loss(LOGITS[:, 0], targets.value_B))
    torch.testing.assert_close(
        losses.total_B, 0.25 * losses.policy_B + 3.0 * losses.value_B
    )


def test_a_draw_costs_log_2_at_best() -> None:
    loss = value_loss(torch.zeros(1), torch.tensor([0.5]))
    torch.testing.assert_close(loss, torch.tensor([math.log(2)]))
