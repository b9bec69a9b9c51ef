"""What a check found: plain data, ready for JSON, and what to say about it."""

from dataclasses import asdict, dataclass
from typing import Any

from maou.checking.evals import (
    SIDE_TO_MOVE,
    UNCLEAR,
    Evals,
    Scale,
)
from maou.checking.rows import DAMAGED, FAULTS, ILLEGAL, IMPOSSIBLE

FAULT_TEXT = {
    DAMAGED: "damaged rows",
    IMPOSSIBLE: "impossible positions",
    ILLEGAL: "illegal best moves",
}

_MANY = 0.5  # share of rows from which a value, or its absence, deserves a word
_ENOUGH_ROWS = 1000
_BALANCED = (0.35, 0.65)
_SAME_ROWS = 0.1
_SCALE_FACTOR = 1.5
_SATURATED_SHARE = 0.2


@dataclass(frozen=True)
class Fault:
    """How many rows have a fault, and in what way; a position can have several."""

    rows: int
    kinds: dict[str, int]


@dataclass(frozen=True)
class NamedRow:
    """A row with a fault, as a user finds it: the first row of a file is row 0."""

    fault: str
    kind: str
    file: str
    row: int
    sfen: str
    move: str


@dataclass(frozen=True)
class Duplicates:
    """Rows that occur before: equal byte by byte, or in the position alone.

    Positions are equal when they are from the side to move. `commonest_position` is
    how many rows the commonest position has.
    """

    rows: int
    positions: int
    commonest_position: int


@dataclass(frozen=True)
class Results:
    """Rows by result, and by result for the side to move."""

    black_won: int
    white_won: int
    drawn: int
    mover_won: int
    mover_lost: int


@dataclass(frozen=True)
class Games:
    """Games among the rows; without ids they are guessed from the order of the rows.

    `longest` is the most rows that one game has; None where games are guessed.
    """

    ids: str
    games: int
    rows_per_game: float
    longest: int | None


@dataclass(frozen=True)
class Finding:
    """A sentence for the user; a serious one makes the check fail."""

    serious: bool
    text: str


@dataclass(frozen=True)
class Report:
    """All that a check found in `looked_at` of `rows` rows.

    Rows without a recorded move (`empty_targets`) are among the illegal ones.
    """

    shards: int
    rows: int
    looked_at: int
    faults: dict[str, Fault]
    examples: tuple[NamedRow, ...]
    empty_targets: int
    duplicates: Duplicates | None
    results: Results
    evals: Evals | None
    scale: Scale
    games: Games | None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return what deserves a word, the serious first."""
        serious = [Finding(True, text) for text in self._serious()]
        return (*serious, *(Finding(False, text) for text in self._doubtful()))

    @property
    def serious(self) -> bool:
        """Whether there are rows that no training should see."""
        return any(fault.rows for fault in self.faults.values())

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON-ready dictionary."""
        return {**asdict(self), "findings": [asdict(one) for one in self.findings]}

    def _of(self, count: int) -> str:
        return f"{count:,} of {self.looked_at:,} rows ({count / self.looked_at:.2%})"

    def _serious(self) -> list[str]:
        said = []
        for name in FAULTS:
            fault = self.faults[name]
            if fault.rows:
                where = next((one for one in self.examples if one.fault == name), None)
                first = f"; the first is {where.file}: row {where.row}" if where else ""
                kinds = "; ".join(fault.kinds)
                text = f"{FAULT_TEXT[name]}: {self._of(fault.rows)}: {kinds}{first}"
                said.append(text)
        return said

    def _doubtful(self) -> list[str]:
        return [
            text
            for text in (
                *self._about_evals(),
                self._about_scale(),
                *self._about_results(),
                self._about_duplicates(),
            )
            if text
        ]

    def _about_evals(self) -> list[str]:
        evals = self.evals
        if evals is None:
            return []
        said = []
        if evals.zero > _MANY * evals.rows:
            said.append(
                f"evaluations are 0 in {evals.zero / evals.rows:.1%} of the rows: they "
                "seem to be missing"
            )
        elif evals.commonest_rows > _MANY * evals.rows:
            share = evals.commonest_rows / evals.rows
            said.append(f"{share:.1%} of the evaluations are {evals.commonest}")
        if evals.saturated > _SATURATED_SHARE * evals.rows:
            said.append(
                f"{evals.saturated / evals.rows:.1%} of the evaluations are mate scores"
            )
        return said

    def _about_scale(self) -> str:
        scale = self.scale
        if scale.seen_from not in {SIDE_TO_MOVE, UNCLEAR}:
            return (
                f"evaluations are seen from {scale.seen_from}, not from the side to "
                "move: with black to move they go with the result by "
                f"{scale.correlation_black:+.2f}, with white to move by "
                f"{scale.correlation_white:+.2f}"
            )
        if scale.fitted is None or scale.rows < _ENOUGH_ROWS:
            return ""
        ratio = scale.fitted / scale.dlshogi
        if 1 / _SCALE_FACTOR < ratio < _SCALE_FACTOR:
            return ""
        return (
            f"sigmoid(eval / {scale.fitted:.0f}) fits the results best; dlshogi's "
            f"scale is {scale.dlshogi:.0f}"
        )

    def _about_results(self) -> list[str]:
        results = self.results
        decided = results.black_won + results.white_won
        rows = decided + results.drawn
        if rows < _ENOUGH_ROWS:
            return []
        if rows in {results.black_won, results.white_won, results.drawn}:
            return ["all rows have the same game result"]
        said = []
        if results.drawn > _MANY * rows:
            said.append(f"{results.drawn / rows:.1%} of the rows are of drawn games")
        share = results.black_won / decided
        if not _BALANCED[0] < share < _BALANCED[1]:
            said.append(f"black won in {share:.1%} of the rows of decided games")
        return said

    def _about_duplicates(self) -> str:
        twins = self.duplicates
        if twins is None or twins.rows < _SAME_ROWS * self.looked_at:
            return ""
        return f"exact duplicates of other rows: {self._of(twins.rows)}"
