"""A training run on the terminal: plan, progress lines, result."""

from typing import TYPE_CHECKING

from maou.cli import console

if TYPE_CHECKING:  # the run's side imports torch; help texts must not
    from maou.logs.report import DryRun, Health, Plan, Summary
    from maou.train.metrics import PolicyValueMetrics

_ROWS = (
    ("policy top-1", "policy_top1", "{:.2%}"),
    ("policy top-5", "policy_top5", "{:.2%}"),
    ("policy cross-entropy", "policy_cross_entropy", "{:.4f}"),
    ("policy entropy", "policy_entropy", "{:.4f}"),
    ("value Brier", "value_brier", "{:.4f}"),
    ("value BCE", "value_bce", "{:.4f}"),
    ("value sign accuracy", "value_sign_accuracy", "{:.2%}"),
    ("value calibration error", "value_calibration_error", "{:.4f}"),
    ("total loss", "total_loss", "{:.4f}"),
)


def metric_rows(*columns: "PolicyValueMetrics") -> list[tuple[str, ...]]:
    """Lay metrics out: a row each, a column for each set."""
    rows = []
    for title, name, form in _ROWS:
        cells = [getattr(metrics, name) for metrics in columns]
        shown = ("-" if cell is None else form.format(cell) for cell in cells)
        rows.append((title, *shown))
    return rows


class TerminalReporter:
    """Shows a run on the terminal (a `maou.logs.report.Reporter`)."""

    def __init__(self, origin: dict[str, str]) -> None:
        """Take the file that each setting came from, by field; others were flags."""
        self._origin = origin

    def plan(self, plan: "Plan") -> None:
        """Show the plan, what was set, and the warnings."""
        for name, text in plan.facts.items():
            console.note(f"{name:>17}  {text}")
        for item in plan.changed:
            origin = self._origin.get(item.name, "command line")
            shown = f"{item.flag} {_shown(item.value)}".rstrip()
            console.note(f"{'set':>17}  {shown}  ({origin})")
        for warning in plan.warnings:
            console.warn(warning)

    def health(self, health: "Health") -> None:
        """Show one line."""
        share = health.step / health.total_steps
        console.note(
            f"epoch {health.epoch}  step {health.step:,}/{health.total_steps:,} "
            f"({share:.0%})  policy {health.policy_loss:.4f}  "
            f"value {health.value_loss:.4f}  top-1 {health.top1:.1%}  "
            f"lr {health.learning_rate:.2e}  {health.rows_per_second:,.0f} pos/s  "
            f"waiting {health.waiting:.1%}  ETA {_duration(health.eta)}"
        )

    def epoch(
        self, number: int, metrics: "PolicyValueMetrics", best: frozenset[str]
    ) -> None:
        """Show an epoch's validation."""
        when = f"after epoch {number}" if number else "before training"
        console.note(
            f"validation {when}: loss {metrics.total_loss:.4f}  "
            f"top-1 {metrics.policy_top1:.2%}  top-5 {metrics.policy_top5:.2%}  "
            f"cross-entropy {metrics.policy_cross_entropy:.4f}  "
            f"Brier {metrics.value_brier:.4f}" + _best_by(best)
        )

    def dry_run(self, result: "DryRun") -> None:
        """Show what one real batch did."""
        console.say(
            f"Dry run: {result.rows:,} real positions went through the network and "
            f"back in {result.seconds:.1f} s (loss {result.total_loss:.4f}, gradient "
            f"norm {result.gradient_norm:.3g}). Nothing was written."
        )

    def finished(self, summary: "Summary") -> None:
        """Show what the run learned, and where it is."""
        before, total = summary.before, summary.best["total"]
        title = f"Held-out games: {total.metrics.rows:,} positions"
        if before.rows != total.metrics.rows:
            title += f" (before: the first {before.rows:,})"
        headings = ("", "before", f"epoch {total.epoch} (best)")
        console.table(headings, metric_rows(before, total.metrics), title)
        heads = [
            f"{head}: epoch {summary.best[head].epoch}" for head in ("policy", "value")
        ]
        console.say(f"best by head {', '.join(heads)} (of {summary.epochs})")
        console.say(f"TensorBoard  tensorboard --logdir {summary.tensorboard}")
        console.say(f"checkpoint   {summary.checkpoint}")
        console.say(
            f"ONNX         {summary.onnx} (differs from the checkpoint by at most "
            f"{summary.onnx_difference:.1e})"
        )


def _best_by(best: frozenset[str]) -> str:
    if not best:
        return ""
    return f"  (best by {', '.join(sorted(best))})"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return "" if isinstance(value, bool) else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
