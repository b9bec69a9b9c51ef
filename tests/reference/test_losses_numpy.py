"""Losses against the formulas of the papers in numpy float64."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from maou.losses.policy import policy_loss
from maou.losses.value import value_loss

Floats = npt.NDArray[np.float64]

GENERATOR = np.random.default_rng(5)
LOGITS: Floats = GENERATOR.normal(0, 4, (32, 1496)).astype(np.float32).astype(float)
LABELS = GENERATOR.integers(0, 1496, 32)
SHARES: Floats = GENERATOR.dirichlet(np.full(1496, 0.01), 32).astype(np.float32)


def softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("q", [0.01, 0.1, 0.7, 1.0])
def test_generalised_cross_entropy(q: float) -> None:
    per_move = (1 - softmax(LOGITS) ** q) / q
    logits = torch.from_numpy(LOGITS).float()
    hard = policy_loss(logits, torch.from_numpy(LABELS), q=q)
    np.testing.assert_allclose(hard, per_move[np.arange(32), LABELS], rtol=2e-6)
    soft = policy_loss(logits, torch.from_numpy(SHARES).float(), q=q)
    np.testing.assert_allclose(soft, (SHARES * per_move).sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("q", [1e-4, 1e-6, 1e-9, 1e-30])
def test_small_q_tends_to_cross_entropy(q: float) -> None:
    log_p = np.log(softmax(LOGITS))
    logits = torch.from_numpy(LOGITS).float()
    hard = policy_loss(logits, torch.from_numpy(LABELS), q=q)
    expected = -log_p[np.arange(32), LABELS]
    # The next term of the series is q/2 (log p)^2, relative q/2 |log p|.
    np.testing.assert_allclose(hard, expected, rtol=2e-6 + 20 * q)
    soft = policy_loss(logits, torch.from_numpy(SHARES).float(), q=q)
    np.testing.assert_allclose(soft, -(SHARES * log_p).sum(1), rtol=1e-5 + 20 * q)


@pytest.mark.parametrize("q", [0.1, 0.7])
def test_gradient_of_the_policy_loss(q: float) -> None:
    p = softmax(LOGITS)
    chosen = p[np.arange(32), LABELS]
    one_hot = np.eye(1496)[LABELS]
    expected = -(chosen**q)[:, None] * (one_hot - p)
    logits = torch.from_numpy(LOGITS).float().requires_grad_()
    policy_loss(logits, torch.from_numpy(LABELS), q=q).sum().backward()
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad, expected, rtol=1e-4, atol=1e-7)


def test_value_loss() -> None:
    logit = np.linspace(-12, 12, 49)
    for result in (0.0, 0.25, 0.5, 1.0):
        p = 1 / (1 + np.exp(-logit))
        expected = -(result * np.log(p) + (1 - result) * np.log1p(-p))
        targets = torch.full((49,), result)
        got = value_loss(torch.from_numpy(logit).float(), targets)
        # At |logit| = 12 the loss is the difference of two float32 near 12.
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
