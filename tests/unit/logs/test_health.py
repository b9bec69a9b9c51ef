"""Health lines: right means, right times."""

import itertools

import pytest
import torch

from maou.logs.health import HealthHook
from maou.logs.report import Health
from maou.model.config import ModelConfig
from maou.model.network import build_network
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer
from maou.train.state import TrainState
from maou.train.step import StepSums
from maou.train.task import PolicyValueTask

COLUMNS = PolicyValueTask.columns


@pytest.fixture(scope="module")
def state() -> TrainState:
    network = build_network(ModelConfig(resnet_blocks=1, resnet_channels=8))
    return TrainState(
        network, build_optimizer(network.named_parameters(), OptimConfig())
    )


def _step(total: float, rows: int = 10) -> StepSums:
    sums = torch.tensor([total, total / 2, total / 4, 3.0], dtype=torch.float64)
    return StepSums(sums * rows, rows)


def test_a_line_every_interval_with_means_over_its_rows(state):
    told: list[Health] = []
    clock = itertools.count()  # one second a look
    hook = HealthHook(COLUMNS, 100, 3, (told.append,), clock=lambda: float(next(clock)))
    hook.on_start(state, before=None)
    for step in range(1, 7):
        state.step = step
        hook.on_step(state, _step(float(step)), waited=0.5)
    assert [health.step for health in told] == [3, 6]
    assert told[0].means["total_loss"] == pytest.approx(2.0)
    assert list(told[1].means) == list(COLUMNS)
    # Ten times three hits in ten rows.
    assert list(told[1].means.values()) == pytest.approx([5.0, 2.5, 1.25, 3.0])
    assert told[0].rows_per_second == pytest.approx(30 / 4)
    assert told[0].waiting == pytest.approx(1.5 / 4)
    assert told[0].eta == pytest.approx((100 - 3) * 4 / 3)


def test_the_last_steps_of_an_epoch_are_told(state):
    told: list[Health] = []
    hook = HealthHook(COLUMNS, 100, 1e9, (told.append,))
    hook.on_start(state, before=None)
    hook.on_step(state, _step(1.0), waited=0.0)
    hook.before_validation(state)
    hook.before_validation(state)
    assert len(told) == 1
