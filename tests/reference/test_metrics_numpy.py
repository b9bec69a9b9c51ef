"""Every metric against its definition, row by row, in numpy float64."""

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from maou.losses.config import LossConfig
from maou.losses.total import Targets
from maou.model.network import Outputs
from maou.train.metrics import MetricSums

Floats = npt.NDArray[np.float64]

CONFIG = LossConfig(gce_parameter=0.2, policy_loss_ratio=0.5, value_loss_ratio=2.0)
ROWS = 700


def data(soft: bool) -> tuple[Floats, Floats, Floats, Floats]:
    """Make logits, targets as shares, value logits and results, in float32 steps."""
    generator = np.random.default_rng(9)
    logits = generator.normal(0, 2, (ROWS, 1496))
    labels = generator.integers(0, 1496, ROWS)
    logits[np.arange(ROWS), labels] += generator.normal(5, 3, ROWS)
    shares = np.eye(1496)[labels]
    results = generator.choice([0.0, 0.5, 1.0], ROWS)
    if soft:
        shares = 0.75 * shares + 0.25 * np.eye(1496)[generator.integers(0, 1496, ROWS)]
        results = np.round(generator.uniform(0, 1, ROWS), 1)
    values = generator.normal(0, 3, ROWS)
    return tuple(  # type: ignore[return-value]
        a.astype(np.float32).astype(float) for a in (logits, shares, values, results)
    )


def expected(soft: bool) -> dict[str, float]:
    rows: dict[str, list[float]] = {}
    bins: dict[int, list[tuple[float, float]]] = {}

    def add(name: str, value: float) -> None:
        rows.setdefault(name, []).append(value)

    for logits, shares, value, result in zip(*data(soft), strict=True):
        p = np.exp(logits - logits.max())
        p /= p.sum()
        gce = float((shares * (1 - p**0.2) / 0.2).sum())
        add("policy_loss", gce)
        add("policy_cross_entropy", -float((shares * np.log(p)).sum()))
        add("policy_entropy", -float((p * np.log(p)).sum()))
        best = np.argsort(-logits)
        add("policy_top1", float(shares[best[0]]))
        add("policy_top5", float(shares[best[:5]].sum()))
        win = 1 / (1 + math.exp(-value))
        bce = -(result * math.log(win) + (1 - result) * math.log(1 - win))
        add("value_bce", bce)
        add("total_loss", 0.5 * gce + 2.0 * bce)
        add("value_brier", (win - result) ** 2)
        if result != 0.5:
            add("value_sign_accuracy", float((win > 0.5) == (result > 0.5)))
        bins.setdefault(min(int(win * 15), 14), []).append((win, result))
    means = {name: math.fsum(values) / len(values) for name, values in rows.items()}
    means["value_calibration_error"] = sum(
        len(members) / ROWS * abs(np.subtract(*np.mean(members, axis=0)))
        for members in bins.values()
    )
    return {"rows": ROWS, **means}


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("cuts", [[ROWS], [1, 300, 299, 100]])
def test_metrics(soft: bool, cuts: list[int]) -> None:
    logits, shares, values, results = (torch.from_numpy(a) for a in data(soft))
    policy = shares if soft else shares.argmax(dim=1)
    sums = MetricSums(CONFIG)
    parts = (logits.float(), policy, values.float(), results.float())
    for a, b, c, d in zip(*(part.split(cuts) for part in parts), strict=True):
        sums.update(Outputs(a, c), Targets(b, d))
    got, wanted = dataclasses.asdict(sums.result()), expected(soft)
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert got[name] == pytest.approx(value, rel=1e-6), name
