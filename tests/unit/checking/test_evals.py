"""Evaluations: what is counted, the point of view, and the fitted scale."""

import numpy as np
import pytest

from maou.checking import evals
from maou.checking.rows import DRAWN, HISTOGRAM_SHAPE, LOST, N_EVALS, WON, Histogram

ZERO = N_EVALS // 2


def rows_at_scale(scale: float, signs: tuple[int, int]) -> Histogram:
    """Make results that follow sigmoid(eval / scale), seen as `signs` say by turn."""
    histogram = np.zeros(HISTOGRAM_SHAPE, dtype=np.int64)
    for value in range(-3000, 3001, 10):
        won = round(1e6 / (1 + np.exp(-value / scale)))
        for turn, sign in enumerate(signs):
            at = ZERO + sign * value
            histogram[turn, at, WON] = won - 1000
            histogram[turn, at, LOST] = 10**6 - won - 1000
            histogram[turn, at, DRAWN] = 2000
    histogram[0, ZERO, WON] = 10**9  # evaluations that are missing
    histogram[1, ZERO + 30_000, LOST] = 10**9  # or saturated do not count
    return histogram


@pytest.mark.parametrize("scale", [300.0, 756.0864961951762, 1200.0])
@pytest.mark.parametrize("view", evals._SIGNS)
def test_the_scale_and_the_point_of_view(scale: float, view: str) -> None:
    found = evals.fit_scale(rows_at_scale(scale, evals._SIGNS[view]))
    assert found.seen_from == view
    assert found.fitted == pytest.approx(scale, rel=1e-4)
    assert found.loss is not None
    assert found.loss_dlshogi is not None
    assert found.loss_even == pytest.approx(np.log(2))
    assert found.loss <= found.loss_dlshogi <= found.loss_even + 0.5


def test_the_loss_is_the_logistic_loss() -> None:
    histogram = np.zeros(HISTOGRAM_SHAPE, dtype=np.int64)
    sample = [(0, 500, WON), (0, -200, DRAWN), (1, 900, LOST), (1, -40, LOST)]
    for turn, value, outcome in sample:
        histogram[turn, ZERO + value, outcome] += 1
    found = evals.fit_scale(histogram)
    share = {WON: 1.0, DRAWN: 0.5, LOST: 0.0}
    total = 0.0
    for _, value, outcome in sample:
        p = 1 / (1 + np.exp(-value / evals.DLSHOGI_SCALE))
        y = share[outcome]
        total -= y * np.log(p) + (1 - y) * np.log(1 - p)
    assert found.loss_dlshogi == pytest.approx(total / 4)
    assert found.fitted is None  # four rows tell no scale
    assert found.seen_from == evals.UNCLEAR


@pytest.mark.parametrize("outcome", [WON, LOST, DRAWN])
def test_one_result_alone_tells_no_scale(outcome: int) -> None:
    histogram = np.zeros(HISTOGRAM_SHAPE, dtype=np.int64)
    histogram[:, ZERO + 100, outcome] = 1000
    found = evals.fit_scale(histogram)
    assert found.fitted is None
    assert found.seen_from == evals.UNCLEAR


def test_no_evaluations() -> None:
    histogram = np.zeros(HISTOGRAM_SHAPE, dtype=np.int64)
    assert evals.describe_evals(histogram) is None
    histogram[:, ZERO, :] = 7
    assert evals.fit_scale(histogram).rows == 0
    described = evals.describe_evals(histogram)
    assert described is not None
    assert described.zero == described.rows == described.commonest_rows == 42
    assert described.lowest == described.median == described.highest == 0


def test_evaluations_are_described_as_numpy_does() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-32768, 32768, 9999)
    values[:50] = 123
    histogram = np.zeros(HISTOGRAM_SHAPE, dtype=np.int64)
    np.add.at(histogram, (0, values + ZERO, WON), 1)
    described = evals.describe_evals(histogram)
    assert described is not None
    assert described.lowest == values.min()
    assert described.highest == values.max()
    assert described.median == np.median(values)
    assert described.saturated == np.count_nonzero(np.abs(values) >= 30_000)
    assert (described.commonest, described.commonest_rows) == (
        123,
        np.count_nonzero(values == 123),
    )
