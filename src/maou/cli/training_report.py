"""A training run on the terminal: plan, progress lines, result."""

from typing import TYPE_CHECKING

from maou.cli import console

if TYPE_CHECKING:  # the run's side imports torch; help texts must not
    from maou.logs.report import Health, Plan, Summary
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

    def plan(self, plan: "Plan") -> None:
        """Show the plan, what was set, and the warnings."""
        for name, text in plan.facts.items():
            console.note(f"{name:>17}  {text}")
        for flag, value in plan.changed.items():
            console.note(f"{'set':>17}  {flag} {_shown(value)}".rstrip())
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
        self, number: int, metrics: "PolicyValueMetrics", *, is_best: bool
    ) -> None:
        """Show an epoch's validation."""
        when = f"after epoch {number}" if number else "before training"
        console.note(
            f"validation {when}: loss {metrics.total_loss:.4f}  "
            f"top-1 {metrics.policy_top1:.2%}  top-5 {metrics.policy_top5:.2%}  "
            f"cross-entropy {metrics.policy_cross_entropy:.4f}  "
            f"Brier {metrics.value_brier:.4f}" + ("  (best)" if is_best else "")
        )

    def finished(self, summary: "Summary") -> None:
        """Show what the run learned, and where it is."""
        before, after = summary.before, summary.after
        title = f"Held-out games: {after.rows:,} positions"
        if before.rows != after.rows:
            title += f" (before: the first {before.rows:,})"
        headings = ("", "before", f"epoch {summary.best_epoch} (best)")
        console.table(headings, metric_rows(before, after), title)
        console.say(f"TensorBoard  tensorboard --logdir {summary.tensorboard}")
        console.say(f"checkpoint   {summary.checkpoint}")
        console.say(
            f"ONNX         {summary.onnx} (differs from the checkpoint by at most "
            f"{summary.onnx_difference:.1e})"
        )


def _shown(value: object) -> str:
    return "" if isinstance(value, bool) else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
