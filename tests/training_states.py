"""Small states of training for tests of checkpoints."""

import torch

from maou.losses.config import LossConfig
from maou.model.config import ModelConfig
from maou.model.network import build_network
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer
from maou.train.metrics import PolicyValueMetrics
from maou.train.state import TrainState
from maou.train.task import PolicyValueTask

SIZES = ModelConfig(resnet_blocks=1, resnet_channels=8)
BEST_BY = PolicyValueTask(LossConfig()).best_by


def state_after_a_step(epoch: int = 1, step: int = 1) -> TrainState:
    """A network after one optimiser step, so that the optimiser has state."""
    torch.manual_seed(0)
    network = build_network(SIZES)
    optimizer = build_optimizer(network.named_parameters(), OptimConfig())
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    state = TrainState(network, optimizer, epoch=epoch, step=step, rows=10)
    state.before = metrics(9.0, 9.0)
    return state


def metrics(policy: float, value: float) -> PolicyValueMetrics:
    """Validation metrics with these losses, which add up to the total."""
    return PolicyValueMetrics(10, policy + value, policy, value, *([0.5] * 7))


def end_epoch(state: TrainState, policy: float, value: float) -> frozenset[str]:
    """Make a step, and end an epoch with these losses; tell by what it is the best."""
    state.epoch, state.step = state.epoch + 1, state.step + 10
    with torch.no_grad():
        for parameter in state.network.parameters():
            parameter.add_(1)
    return state.record_validation(metrics(policy, value), BEST_BY)
