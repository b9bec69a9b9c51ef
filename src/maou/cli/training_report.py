"""A training run on the terminal: plan, progress lines, result."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from maou.cli import console
from maou.errors import MaouError

if TYPE_CHECKING:  # the run's side imports torch; help texts must not
    from maou.logs.report import DryRun, Health, Plan, Summary
    from maou.train.events import Event
    from maou.train.numbers import Numbers
    from maou.train.task import Metrics

_ROWS = (
    ("policy top-1", "policy_top1", "{:.2%}"),
    ("policy top-5", "policy_top5", "{:.2%}"),
    ("policy cross-entropy", "policy_cross_entropy", "{:.4f}"),
    ("policy entropy", "policy_entropy", "{:.4f}"),
    ("value Brier", "value_brier", "{:.4f}"),
    ("value BCE", "value_bce", "{:.4f}"),
    ("value sign accuracy", "value_sign_accuracy", "{:.2%}"),
    ("value calibration error", "value_calibration_error", "{:.4f}"),
    ("element accuracy", "element_accuracy", "{:.3%}"),
    ("exact match", "exact_match", "{:.2%}"),
    ("F1", "f1", "{:.4f}"),
    ("precision", "precision", "{:.4f}"),
    ("recall", "recall", "{:.4f}"),
    ("total loss", "total_loss", "{:.4f}"),
)

_SHORT = (
    ("loss", "total_loss", "{:.4f}"),
    ("policy", "policy_loss", "{:.4f}"),
    ("value", "value_loss", "{:.4f}"),
    ("top-1", "policy_top1", "{:.2%}"),
    ("top-5", "policy_top5", "{:.2%}"),
    ("cross-entropy", "policy_cross_entropy", "{:.4f}"),
    ("Brier", "value_brier", "{:.4f}"),
    ("accuracy", "element_accuracy", "{:.3%}"),
    ("exact", "exact_match", "{:.2%}"),
    ("F1", "f1", "{:.4f}"),
)
"""What a single line shows, of whatever there is."""

_WARNINGS = 20
"""So many events of a kind are shown."""


def metric_rows(*columns: "Metrics") -> list[tuple[str, ...]]:
    """Lay metrics out: a row each, a column for each set."""
    rows = []
    for title, name, form in _ROWS:
        if not hasattr(columns[0], name):
            continue
        cells = [getattr(metrics, name) for metrics in columns]
        shown = ("-" if cell is None else form.format(cell) for cell in cells)
        rows.append((title, *shown))
    return rows


class TerminalReporter:
    """Shows a run on the terminal (a `maou.logs.report.Reporter`).

    Leaving the context takes the bar away that a terminal shows instead of lines.
    """

    def __init__(self, origin: dict[str, str]) -> None:
        """Take the file that each setting came from, by field; others were flags."""
        self._origin = origin
        self._bar = console.Bar()
        self._told: set[str] = set()  # what all stages of a run have in common
        self._events: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the terminal as it was."""
        self._bar.clear()

    def note(self, text: str) -> None:
        """Show a line."""
        console.note(text)

    def warn(self, text: str) -> None:
        """Show a warning."""
        console.warn(text)

    def result(self, text: str) -> None:
        """Show a line of the result."""
        self._bar.clear()
        console.say(text)

    def plan(self, plan: "Plan") -> None:
        """Show the plan, what was set, and the warnings."""
        if plan.title:
            console.note(plan.title)
        for name, text in plan.facts.items():
            console.note(f"{name:>17}  {text}")
        for item in plan.changed if not self._told else ():
            origin = self._origin.get(item.name, "command line")
            shown = f"{item.flag} {_shown(item.value)}".rstrip()
            console.note(f"{'set':>17}  {shown}  ({origin})")
        for warning in plan.warnings:
            if warning not in self._told:
                console.warn(warning)
        self._told.update(("settings", *plan.warnings))

    def health(self, health: "Health") -> None:
        """Show one line, or on a terminal the bar."""
        share = health.step / health.total_steps
        if self._bar.on_terminal:
            self._bar.update(
                share,
                f"{health.step:,}/{health.total_steps:,}  epoch {health.epoch}  "
                f"loss {health.means['total_loss']:.4f}  "
                f"{health.rows_per_second:,.0f} pos/s  "
                f"ETA {console.duration(health.eta)}",
            )
            return
        console.note(
            f"epoch {health.epoch}  step {health.step:,}/{health.total_steps:,} "
            f"({share:.0%})  {_line(health.means)}  "
            f"lr {health.learning_rate:.2e}  {health.rows_per_second:,.0f} pos/s  "
            f"waiting {health.waiting:.1%}  ETA {console.duration(health.eta)}"
        )

    def event(self, event: "Event") -> None:
        """Warn, unless there have been very many of its kind."""
        self._events[event.kind] += 1
        if self._events[event.kind] <= _WARNINGS:
            console.warn(event.text)
        if self._events[event.kind] == _WARNINGS:
            console.warn("further ones are counted, and written to metrics.jsonl")

    def epoch(self, number: int, metrics: "Metrics", best: frozenset[str]) -> None:
        """Show an epoch's validation."""
        when = f"after epoch {number}" if number else "before training"
        console.note(f"validation {when}: {_line(vars(metrics))}" + _best_by(best))

    def dry_run(self, result: "DryRun") -> None:
        """Show what one real batch did."""
        console.say(
            f"Dry run: {result.rows:,} real positions went through the network and "
            f"back in {result.seconds:.1f} s (loss {result.total_loss:.4f}, gradient "
            f"norm {result.gradient_norm:.3g}). Nothing was written."
        )

    def finished(self, summary: "Summary") -> None:
        """Show what the run learned, and where it is; it ends well without readers."""
        self._bar.clear()
        try:
            _show(summary)
        except MaouError as error:
            console.warn(f"{error}. All is saved, in {summary.checkpoint}")


def _show(summary: "Summary") -> None:
    before, best = summary.before, next(iter(summary.best.values()))
    title = f"{summary.title}, " if summary.title else ""
    title += f"{summary.measured_on}: {best.metrics.rows:,} positions"
    if before.rows != best.metrics.rows:
        title += f" (before: the first {before.rows:,})"
    headings = ("", "before", f"epoch {best.epoch} (best)")
    title = title[0].upper() + title[1:]
    console.table(headings, metric_rows(before, best.metrics), title)
    heads = [
        f"{head}: epoch {summary.best[head].epoch}"
        for head in ("policy", "value")
        if head in summary.best
    ]
    if heads:
        console.say(f"best by head {', '.join(heads)} (of {summary.epochs})")
    if summary.numbers.spikes or summary.numbers.overflows:
        console.say(f"numbers      {_counts(summary.numbers)}")
    console.say(f"TensorBoard  tensorboard --logdir {summary.tensorboard}")
    console.say(f"checkpoint   {summary.checkpoint}")
    if summary.onnx is not None:
        console.say(
            f"ONNX         {summary.onnx.path} (differs from the checkpoint by at "
            f"most {summary.onnx.difference:.1e})"
        )


def _line(values: Mapping[str, object]) -> str:
    """Lay some means out on one line."""
    shown = ((title, values.get(name), form) for title, name, form in _SHORT)
    return "  ".join(
        f"{title} {form.format(value)}"
        for title, value, form in shown
        if value is not None
    )


def _counts(numbers: "Numbers") -> str:
    """Say how many steps stood out, and how many were not applied."""
    return (
        f"{numbers.spikes:,} loss spikes ({numbers.skipped_spikes:,} of them not "
        f"applied), {numbers.overflows:,} fp16 overflows (not applied)"
    )


def _best_by(best: frozenset[str]) -> str:
    if not best:
        return ""
    return f"  (best by {', '.join(sorted(best))})"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return "" if isinstance(value, bool) else str(value)
