"""The multi-label loss and metrics against their definitions in numpy float64."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from maou.losses.config import MultiLabelShape
from maou.losses.multi_label import multi_label_loss
from maou.train.multi_label_metrics import MultiLabelSums

Floats = npt.NDArray[np.float64]

GENERATOR = np.random.default_rng(8)
LOGITS: Floats = GENERATOR.normal(-1, 4, (32, 1496)).astype(np.float32).astype(float)
FLAGS: Floats = (GENERATOR.uniform(size=(32, 1496)) < 0.05).astype(float)

SHAPES = [
    MultiLabelShape(),
    MultiLabelShape(pos_weight=2.5),
    MultiLabelShape(gamma_neg=2.0),
    MultiLabelShape(gamma_pos=1.0, gamma_neg=4.0, clip=0.05),
    MultiLabelShape(gamma_pos=0.5, gamma_neg=0.5, clip=0.02),
    MultiLabelShape(clip=0.3),
]


def flag_losses(logits: Floats, flags: Floats, shape: MultiLabelShape) -> Floats:
    """Ridnik et al. 2021, eqs. 4 to 7, as they stand there; [B, K]."""
    p = 1 / (1 + np.exp(-logits))
    p_m = np.maximum(p - shape.clip, 0)
    positive = shape.pos_weight * (1 - p) ** shape.gamma_pos * np.log(p)
    negative = p_m**shape.gamma_neg * np.log(1 - p_m)
    return np.asarray(-flags * positive - (1 - flags) * negative)


@pytest.mark.parametrize("shape", SHAPES)
def test_loss(shape: MultiLabelShape) -> None:
    flags = torch.from_numpy(FLAGS)
    found = multi_label_loss(torch.from_numpy(LOGITS).float(), flags, shape)
    expected = flag_losses(LOGITS, FLAGS, shape).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_is_the_slope_of_the_loss(shape: MultiLabelShape) -> None:
    logits = torch.from_numpy(LOGITS).float().requires_grad_()
    loss = multi_label_loss(logits, torch.from_numpy(FLAGS), shape)
    (loss.sum() * FLAGS.shape[1]).backward()
    assert logits.grad is not None
    step = 1e-5
    above = flag_losses(LOGITS + step, FLAGS, shape)
    below = flag_losses(LOGITS - step, FLAGS, shape)
    slope = (above - below) / (2 * step)
    p = 1 / (1 + np.exp(-LOGITS))
    smooth = np.abs(p - shape.clip) > 1e-4  # the clip makes a corner
    np.testing.assert_allclose(
        logits.grad.numpy()[smooth], slope[smooth], rtol=1e-4, atol=1e-6
    )


def test_gradient_of_a_false_flag_is_the_paper_s() -> None:
    """Eq. 8: p_m^gamma (1 / (1 - p_m) - gamma log(1 - p_m) / p_m) p (1 - p)."""
    shape = MultiLabelShape(gamma_neg=3.0, clip=0.1)
    logits = torch.linspace(-2, 8, 50).requires_grad_()
    multi_label_loss(logits[:, None], torch.zeros(50, 1), shape).sum().backward()
    p = 1 / (1 + np.exp(-logits.detach().double().numpy()))
    p_m = p - 0.1
    inner = 1 / (1 - p_m) - 3 * np.log(1 - p_m) / p_m
    np.testing.assert_allclose(logits.grad, p_m**3 * inner * p * (1 - p), rtol=1e-4)


def scores(logits: Floats, flags: Floats) -> dict[str, float]:
    """Score a row by counting sets."""
    predicted = set(np.flatnonzero(logits > 0).tolist())
    true = set(np.flatnonzero(flags).tolist())
    hits = len(predicted & true)
    wrong = len(predicted ^ true)
    found = {
        "element_accuracy": 1 - wrong / len(logits),
        "exact_match": float(not wrong),
    }
    if not predicted and not true:
        return {**found, "f1": 1.0, "precision": 1.0, "recall": 1.0}
    precision = hits / len(predicted) if predicted else 0.0
    recall = hits / len(true) if true else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {**found, "f1": f1, "precision": precision, "recall": recall}


@pytest.mark.parametrize("shape", [SHAPES[1], SHAPES[3]])
@pytest.mark.parametrize("cuts", [[40], [1, 17, 20, 2]])
def test_metrics(shape: MultiLabelShape, cuts: list[int]) -> None:
    logits, flags = np.vstack([LOGITS, LOGITS[:8]]), np.vstack([FLAGS, FLAGS[:8]])
    logits[32:36] = np.where(flags[32:36] > 0, 2.0, -2.0)  # right
    logits[34, 5] *= -1.0
    logits[36:38] = -3.0
    flags[37] = 0.0
    logits[38:] = 1.0
    flags[38] = 0.0
    flags[39] = 1.0
    rows = [scores(*row) for row in zip(logits, flags, strict=True)]
    losses = flag_losses(logits, flags, shape).mean(axis=1)
    expected = {name: math.fsum(row[name] for row in rows) / 40 for name in rows[0]}
    expected |= {"rows": 40, "total_loss": math.fsum(losses) / 40}
    sums = MultiLabelSums(shape)
    whole = torch.from_numpy(logits).float(), torch.from_numpy(flags)
    for part in zip(*(tensor.split(cuts) for tensor in whole), strict=True):
        sums.update(*part)
    found = dataclasses.asdict(sums.result())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-6), name
