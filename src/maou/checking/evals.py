"""Evaluations against results: missing ones, the point of view, and the scale.

Everything is computed from exact counts by evaluation value, so it depends on nothing
but the data. The scale s is the one that makes sigmoid(eval / s) the likeliest win
probability: it minimises the logistic loss against results (a draw counts one half).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maou.checking.rows import DRAWN, N_EVALS, WON, Histogram

DLSHOGI_SCALE = 756.0864961951762
SATURATED = 30_000
_VALUES = np.arange(N_EVALS) - N_EVALS // 2

_LEAST_ROWS = 100  # fewer say nothing on either side
_LEAST_CORRELATION = 0.05
_STEEPEST = 1.0  # 1 / scale: one unit of evaluation would decide the game

SIDE_TO_MOVE, BLACK, WHITE, OPPONENT, UNCLEAR = (
    "side to move",
    "black",
    "white",
    "opponent of the side to move",
    "unclear",
)
_SIGNS = {
    SIDE_TO_MOVE: (1, 1),
    BLACK: (1, -1),
    WHITE: (-1, 1),
    OPPONENT: (-1, -1),
}


@dataclass(frozen=True)
class Evals:
    """What evaluations the rows carry."""

    rows: int
    zero: int
    commonest: int
    commonest_rows: int
    saturated: int
    lowest: int
    highest: int
    median: int


@dataclass(frozen=True)
class Scale:
    """How evaluations go with results.

    Attributes:
        rows: rows with an evaluation that is neither 0 nor saturated.
        seen_from: whose advantage a positive evaluation is, as results tell.
        correlation_black: correlation of sigmoid(eval / 756) and the result of the side
            to move, over rows with black to move; None where there is none.
        correlation_white: the same with white to move.
        fitted: the best scale; None where results do not tell one.
        loss: logistic loss at the fitted scale, nats a row.
        loss_dlshogi: the loss at dlshogi's scale.
        loss_even: the loss of always saying one half.
    """

    rows: int
    seen_from: str
    correlation_black: float | None
    correlation_white: float | None
    fitted: float | None
    loss: float | None
    loss_dlshogi: float | None
    loss_even: float | None
    dlshogi: float = DLSHOGI_SCALE


def describe_evals(histogram: Histogram) -> Evals | None:
    """Describe the evaluations; None without rows."""
    counts = histogram.sum(axis=(0, 2))
    rows = int(counts.sum())
    if rows == 0:
        return None
    filled = np.flatnonzero(counts)
    commonest = int(counts.argmax())
    middle = int(np.searchsorted(np.cumsum(counts), (rows + 1) // 2))
    return Evals(
        rows=rows,
        zero=int(counts[N_EVALS // 2]),
        commonest=int(_VALUES[commonest]),
        commonest_rows=int(counts[commonest]),
        saturated=int(counts[np.abs(_VALUES) >= SATURATED].sum()),
        lowest=int(_VALUES[filled[0]]),
        highest=int(_VALUES[filled[-1]]),
        median=int(_VALUES[middle]),
    )


def fit_scale(histogram: Histogram) -> Scale:
    """Fit the scale and find the point of view; where that is not the side to move's.

    Evaluations are turned to the side to move before the fit, whoever's view they have.
    """
    used = (_VALUES != 0) & (np.abs(_VALUES) < SATURATED)
    counts = histogram[:, used].sum(axis=2).astype(np.float64)
    wins = histogram[:, used, WON] + histogram[:, used, DRAWN] / 2
    values = _VALUES[used].astype(np.float64)
    black, white = (_correlation(values, counts[i], wins[i]) for i in (0, 1))
    view = _seen_from(black, white)
    rows = int(counts.sum())
    if rows == 0:
        return Scale(0, view, black, white, None, None, None, None)
    signs = _SIGNS.get(view, (1, 1))
    evals = np.concatenate([values * signs[0], values * signs[1]])
    counts, wins = counts.reshape(-1), wins.reshape(-1)
    filled = counts > 0
    evals, counts, wins = evals[filled], counts[filled], wins[filled]
    slope = _best_slope(evals, counts, wins) if rows >= _LEAST_ROWS else None
    return Scale(
        rows=rows,
        seen_from=view,
        correlation_black=black,
        correlation_white=white,
        fitted=None if slope is None else 1 / slope,
        loss=None if slope is None else _loss(slope, evals, counts, wins),
        loss_dlshogi=_loss(1 / DLSHOGI_SCALE, evals, counts, wins),
        loss_even=float(np.log(2)),
    )


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 0.5 * (1 + np.tanh(x / 2))


def _correlation(
    values: npt.NDArray[np.float64],
    counts: npt.NDArray[np.float64],
    wins: npt.NDArray[np.float64],
) -> float | None:
    """Correlate expected and real results; None where there is too little to say.

    A draw is taken as half a win and half a loss.
    """
    rows = counts.sum()
    if rows < _LEAST_ROWS:
        return None
    expected = _sigmoid(values / DLSHOGI_SCALE)
    mean, share = (expected * counts).sum() / rows, wins.sum() / rows
    spread = ((expected - mean) ** 2 * counts).sum() / rows
    if spread <= 0 or not 0 < share < 1:
        return None
    together = ((expected - mean) * wins).sum() / rows
    return float(together / np.sqrt(spread * share * (1 - share)))


def _seen_from(black: float | None, white: float | None) -> str:
    if black is None or white is None:
        return UNCLEAR
    if min(abs(black), abs(white)) < _LEAST_CORRELATION:
        return UNCLEAR
    signs = (1 if black > 0 else -1, 1 if white > 0 else -1)
    return next(view for view, found in _SIGNS.items() if found == signs)


def _loss(
    slope: float,
    evals: npt.NDArray[np.float64],
    counts: npt.NDArray[np.float64],
    wins: npt.NDArray[np.float64],
) -> float:
    """Mean logistic loss at scale 1 / slope, nats."""
    logit = slope * evals
    total = wins * np.logaddexp(0, -logit) + (counts - wins) * np.logaddexp(0, logit)
    return float(total.sum() / counts.sum())


def _best_slope(
    evals: npt.NDArray[np.float64],
    counts: npt.NDArray[np.float64],
    wins: npt.NDArray[np.float64],
) -> float | None:
    """Find 1 / scale where the derivative of the loss, which is convex, is zero.

    None where the loss falls towards no slope at all (evaluations tell nothing) or a
    slope without bound (no evaluation has the wrong sign).
    """

    def derivative(slope: float) -> float:
        return float((evals * (counts * _sigmoid(slope * evals) - wins)).sum())

    low, high = 0.0, _STEEPEST
    if derivative(low) >= 0 or derivative(high) <= 0:
        return None
    for _ in range(100):  # halves the bracket down to the precision of a double
        middle = (low + high) / 2
        if middle in {low, high}:
            break
        if derivative(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
