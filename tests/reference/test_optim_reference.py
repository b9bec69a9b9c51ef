"""Schedules against torch's schedulers, update rules against numpy float64."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer, set_learning_rate
from maou.optim.schedule import learning_rate_at, warmup_steps


def torch_rates(name: str, total: int, rate: float) -> list[float]:
    """Step torch's own scheduler once per optimiser step and read the rates."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler: torch.optim.lr_scheduler.LRScheduler
    if name == "CosineAnnealingLR":
        scheduler = CosineAnnealingLR(optimizer, T_max=total)
    else:
        warmup = warmup_steps(total)
        rise = LinearLR(optimizer, 1 / warmup, 1.0, total_iters=max(1, warmup - 1))
        fall = CosineAnnealingLR(optimizer, T_max=total - warmup)
        scheduler = SequentialLR(optimizer, [rise, fall], milestones=[warmup])
    rates = []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["CosineAnnealingLR", "Warmup+CosineDecay"])
@pytest.mark.parametrize("total", [2, 15, 37, 400])
def test_schedule_equals_torchs(name: str, total: int) -> None:
    config = OptimConfig(lr_scheduler=name, learning_rate=0.02)
    ours = [learning_rate_at(step, total, config) for step in range(total)]
    # torch chains its steps, so rounding builds up in its rates, not in ours.
    np.testing.assert_allclose(
        ours, torch_rates(name, total, 0.02), rtol=1e-9, atol=1e-12
    )


def make(config: OptimConfig) -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
    generator = torch.Generator().manual_seed(2)
    parameters = {
        "layer.weight": nn.Parameter(torch.randn(3, 4, generator=generator).double()),
        "layer.bias": nn.Parameter(torch.randn(3, generator=generator).double()),
    }
    return parameters, build_optimizer(parameters.items(), config)


def gradient(step: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(step).normal(size=shape)


def run(config: OptimConfig, steps: int) -> dict[str, np.ndarray]:
    parameters, optimizer = make(config)
    for step in range(steps):
        set_learning_rate(optimizer, learning_rate_at(step, steps, config))
        for parameter in parameters.values():
            parameter.grad = torch.from_numpy(gradient(step, tuple(parameter.shape)))
        optimizer.step()
    return {name: p.detach().numpy() for name, p in parameters.items()}


def test_adamw() -> None:
    """Loshchilov & Hutter 2019, algorithm 2; decay on the weight alone."""
    config = OptimConfig(
        weight_decay=0.1, optimizer_beta1=0.8, optimizer_beta2=0.95, optimizer_eps=1e-3
    )
    got, (start, _) = run(config, 12), make(config)
    for name, decay in (("layer.weight", 0.1), ("layer.bias", 0.0)):
        x = start[name].detach().numpy().copy()
        mean, square = np.zeros_like(x), np.zeros_like(x)
        for step in range(12):
            rate = learning_rate_at(step, 12, config)
            g = gradient(step, x.shape)
            mean = 0.8 * mean + 0.2 * g
            square = 0.95 * square + 0.05 * g * g
            unbiased = mean / (1 - 0.8 ** (step + 1))
            root = np.sqrt(square / (1 - 0.95 ** (step + 1)))
            x = x - rate * decay * x - rate * unbiased / (root + 1e-3)
        np.testing.assert_allclose(got[name], x, rtol=1e-10)


def test_sgd_with_momentum() -> None:
    config = OptimConfig(optimizer="sgd", momentum=0.7, weight_decay=0.1)
    got, (start, _) = run(config, 12), make(config)
    for name, decay in (("layer.weight", 0.1), ("layer.bias", 0.0)):
        x = start[name].detach().numpy().copy()
        speed = np.zeros_like(x)
        for step in range(12):
            speed = 0.7 * speed + gradient(step, x.shape) + decay * x
            x = x - learning_rate_at(step, 12, config) * speed
        np.testing.assert_allclose(got[name], x, rtol=1e-10)
