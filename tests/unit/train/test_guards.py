"""Verdicts about real steps: finite, broken, overflowing, spiking."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.amp import GradScaler

from maou.data.kinds import HCPE_ROWS
from maou.losses.config import LossConfig
from maou.model.config import ModelConfig
from maou.model.network import build_network
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer
from maou.train.device import Compute, resolve_compute
from maou.train.events import LOSS_SPIKE, OVERFLOW
from maou.train.guards import examine, judge
from maou.train.numbers import FEWEST, WINDOW, Numbers
from maou.train.state import TrainState
from maou.train.step import StepSums, accumulate_gradients
from maou.train.task import PolicyValueTask

TASK = PolicyValueTask(LossConfig())
CPU = resolve_compute("cpu")
HALF = resolve_compute("cpu", "fp16")


@pytest.fixture
def state() -> TrainState:
    torch.manual_seed(0)
    network = build_network(ModelConfig(resnet_blocks=1, resnet_channels=8)).train()
    optimizer = build_optimizer(network.named_parameters(), OptimConfig())
    return TrainState(network, optimizer)


def _step(
    state: TrainState, rows, compute: Compute = CPU, task: PolicyValueTask = TASK
) -> StepSums:
    batch = HCPE_ROWS.encode(rows, np.arange(16, dtype=np.int64), str)
    state.optimizer.zero_grad()
    network, scaler = state.network, state.scaler
    return accumulate_gradients(network, [batch], task, compute, scaler=scaler)


def test_a_finite_step_is_applied(state, selfplay_rows):
    verdict = judge(state, _step(state, selfplay_rows), None)
    assert verdict.finite
    assert verdict.update
    assert not verdict.events
    assert len(state.numbers.losses) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_parameter_that_is_not_finite_breaks_the_step(state, selfplay_rows, value):
    with torch.no_grad():
        state.network.get_parameter("value_head.outlook.bias")[0] = value
    sums = _step(state, selfplay_rows)
    assert not judge(state, sums, None).finite
    found = examine(state, TASK.columns, sums)
    assert found.parameters == ("value_head.outlook.bias",)
    assert math.isfinite(found.losses["policy_loss"])
    assert not math.isfinite(found.losses["total_loss"])
    assert "the loss is not finite" in found.describe()
    assert "value_head.outlook.bias was not finite" in found.describe()


def test_one_gradient_alone_breaks_the_step(state, selfplay_rows):
    """A finite loss whose gradient is not: the square root at 0 has slope infinity."""
    name = "value_head.outlook.bias"
    parameter = state.network.get_parameter(name)
    sums = _step(state, selfplay_rows)
    ((parameter - parameter.detach()).abs().sqrt().sum() * 0).backward()
    assert not judge(state, sums, None).finite
    found = examine(state, TASK.columns, sums)
    assert list(found.gradients) == [name]
    assert found.gradients[name].nan == found.gradients[name].values
    assert f"first {name}" in found.describe()
    assert "the loss is not finite" not in found.describe()


def test_overflow_of_the_scale_is_skipped_and_of_the_gradient_stops(
    state, selfplay_rows
):
    state.scaler = GradScaler("cpu", init_scale=2.0**40)
    loud = PolicyValueTask(LossConfig(policy_loss_ratio=1e9))
    before = [p.detach().clone() for p in state.network.parameters()]
    scales = []
    while True:
        sums = _step(state, selfplay_rows, HALF, loud)
        verdict = judge(state, sums, None)
        if not verdict.finite:
            break
        assert not verdict.update
        assert [event.kind for event in verdict.events] == [OVERFLOW]
        scales.append(verdict.events[0].values["loss_scale"])
    # At scale 1, 1e9 times the policy's gradient still does not fit in float16.
    assert scales == [2.0**n for n in range(39, -1, -1)]
    assert state.numbers.overflows == 40
    pairs = zip(before, state.network.parameters(), strict=True)
    assert all(torch.equal(old, new) for old, new in pairs)
    assert examine(state, loud.columns, sums).gradients


def test_unscaled_gradients_are_those_of_no_scaling(state, selfplay_rows):
    """A power of two as scale leaves the bits of float32 gradients alone."""
    _step(state, selfplay_rows)
    plain = [p.grad.clone() for p in state.network.parameters()]
    state.scaler = GradScaler("cpu", init_scale=1024.0)
    assert judge(state, _step(state, selfplay_rows), None).update
    for parameter, expected in zip(state.network.parameters(), plain, strict=True):
        assert torch.equal(parameter.grad, expected)


@pytest.mark.parametrize(
    ("skip_above", "loss", "told", "update"),
    [
        (None, 1.9, False, True),
        (None, 2.1, True, True),
        (3.0, 2.5, True, True),
        (3.0, 3.1, True, False),
        (1.5, 1.6, True, False),
        (1.5, 1.4, False, True),
    ],
)
def test_spikes_are_told_and_skipped_on_request(
    state, selfplay_rows, skip_above, loss, told, update
):
    sums = _step(state, selfplay_rows)
    state.numbers = Numbers([1.0] * FEWEST)
    spiking = dataclasses.replace(state)
    columns = sums.sums.clone()
    columns[0] = loss * sums.rows
    verdict = judge(spiking, StepSums(columns, sums.rows), skip_above)
    assert verdict.finite
    assert verdict.update is update
    assert [event.kind for event in verdict.events] == [LOSS_SPIKE] * told
    assert spiking.numbers.spikes == told
    assert spiking.numbers.skipped_spikes == (not update)
    if told:
        assert verdict.events[0].values["factor"] == pytest.approx(loss)
        assert "step 1:" in verdict.events[0].text


def test_the_median_is_that_of_the_latest_losses_and_spikes_do_not_move_it():
    numbers = Numbers()
    assert [numbers.add(1.0) for _ in range(FEWEST)] == [None] * FEWEST
    assert numbers.add(50.0) == 50.0
    assert numbers.add(50.0) == 50.0
    for _ in range(WINDOW):
        numbers.add(4.0)
    assert numbers.losses == [4.0] * WINDOW
    assert numbers.add(2.0) == 0.5
    assert len(numbers.losses) == WINDOW
