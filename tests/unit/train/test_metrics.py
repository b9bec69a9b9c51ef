"""Edges of the metrics: no rows, no decisive rows, extreme logits, given losses."""

import dataclasses
import json
import math

import pytest
import torch

from maou.losses.config import LossConfig
from maou.losses.total import Targets, total_loss
from maou.model.network import Outputs
from maou.train.metrics import MetricSums, PolicyValueMetrics


def measure(
    logits_BM: torch.Tensor,
    labels: list[int],
    values: list[float],
    results: list[float],
) -> PolicyValueMetrics:
    sums = MetricSums(LossConfig())
    sums.update(
        Outputs(logits_BM, torch.tensor(values)),
        Targets(torch.tensor(labels), torch.tensor(results)),
    )
    return sums.result()


def test_no_rows_have_no_metrics() -> None:
    with pytest.raises(ValueError, match="not a single row"):
        MetricSums(LossConfig()).result()


def test_a_network_without_opinion() -> None:
    found = measure(torch.zeros(2, 1496), [3, 4], [0.0, 0.0], [1.0, 0.0])
    assert found.policy_cross_entropy == pytest.approx(math.log(1496))
    assert found.policy_entropy == pytest.approx(math.log(1496))
    assert found.value_bce == pytest.approx(math.log(2))
    assert found.value_brier == pytest.approx(0.25)
    assert found.value_calibration_error == pytest.approx(0.0)
    assert found.value_sign_accuracy == 0.0  # it favours neither side
    assert found.policy_top1 <= 0.5  # a tie has one first move, not 1496


def test_draws_have_no_sign() -> None:
    logits = torch.zeros(3, 1496)
    found = measure(logits, [0, 1, 2], [1.0, -1.0, 2.0], [0.5, 0.0, 0.0])
    assert found.value_sign_accuracy == 0.5
    assert measure(logits[:1], [0], [3.0], [0.5]).value_sign_accuracy is None


def test_certainty_and_its_opposite() -> None:
    logits = torch.full((2, 1496), -1e4)
    logits[:, 7] = 1e4
    found = measure(logits, [7, 8], [1e4, -1e4], [1.0, 1.0])
    assert found.policy_top1 == 0.5
    assert found.value_brier == pytest.approx(0.5)
    assert found.value_calibration_error == pytest.approx(0.5)
    assert found.policy_entropy == pytest.approx(0.0)
    assert math.isfinite(found.total_loss)


def test_top_5() -> None:
    logits = torch.arange(1496.0).repeat(3, 1)
    found = measure(logits, [1495, 1491, 1490], [0.0] * 3, [0.5] * 3)
    assert found.policy_top1 == pytest.approx(1 / 3)
    assert found.policy_top5 == pytest.approx(2 / 3)


def test_given_losses_are_used_and_results_are_plain_numbers() -> None:
    outputs = Outputs(torch.randn(4, 1496), torch.randn(4))
    targets = Targets(torch.arange(4), torch.tensor([0.0, 1.0, 0.5, 1.0]))
    losses = total_loss(outputs, targets, LossConfig())
    sums, again = MetricSums(LossConfig()), MetricSums(LossConfig())
    sums.update(outputs, targets, losses)
    again.update(outputs, targets)
    assert sums.result() == again.result()
    plain = dataclasses.asdict(sums.result())
    assert json.loads(json.dumps(plain)) == plain
    assert {type(value) for value in plain.values()} == {int, float}


def test_gradients_are_not_kept() -> None:
    logits = torch.randn(2, 1496, requires_grad=True)
    sums = MetricSums(LossConfig())
    outputs = Outputs(logits, logits[:, 0])
    sums.update(outputs, Targets(torch.arange(2), torch.ones(2)))
    assert not sums._sums.requires_grad
