"""The report of `maou utility check-data` as tables."""

from collections.abc import Iterator

from maou.checking.report import FAULT_TEXT, Report
from maou.cli import console


def show(report: Report, path: str) -> None:
    """Print what was found: the tables, the rows at fault, and the verdict."""
    some = "" if report.looked_at == report.rows else f" of {report.rows:,}"
    title = f"{path}: {report.looked_at:,}{some} rows, {report.shards} shards"
    console.table(("", "rows", "share"), _counts(report), title)
    console.table(("evaluations and games", ""), _numbers(report), "")
    for one in report.examples:
        console.say(f"{one.file}: row {one.row}: {one.fault}: {one.kind}")
        if one.sfen:
            console.say(f"    {one.sfen}  best move {one.move}")
    for finding in report.findings:
        console.say(f"{'BAD ' if finding.serious else 'NOTE'}  {finding.text}")
    if not report.serious:
        console.say("OK    no damaged rows, impossible positions or illegal best moves")


def _counts(report: Report) -> Iterator[tuple[str, str, str]]:
    def row(text: str, count: int) -> tuple[str, str, str]:
        return text, f"{count:,}", f"{count / report.looked_at:.2%}"

    for name, fault in report.faults.items():
        yield row(FAULT_TEXT[name], fault.rows)
        for kind, count in fault.kinds.items():
            yield row(f"  {kind}", count)
    yield row("rows with an empty policy target", report.empty_targets)
    if report.duplicates is not None:
        yield row("exact duplicates of another row", report.duplicates.rows)
        yield row("positions that occur before", report.duplicates.positions)
    yield row("black won", report.results.black_won)
    yield row("white won", report.results.white_won)
    yield row("drawn", report.results.drawn)
    yield row("side to move won", report.results.mover_won)
    yield row("side to move lost", report.results.mover_lost)
    if report.evals is not None:
        yield row("evaluation 0", report.evals.zero)
        text = f"commonest evaluation ({report.evals.commonest:+d})"
        yield row(text, report.evals.commonest_rows)
        yield row("evaluation saturated (mate scores)", report.evals.saturated)


def _numbers(report: Report) -> Iterator[tuple[str, str]]:
    evals, scale = report.evals, report.scale
    if evals is not None:
        yield (
            "lowest, median, highest evaluation",
            f"{evals.lowest:+d}, {evals.median:+d}, {evals.highest:+d}",
        )
    yield "evaluations seen from", scale.seen_from
    yield (
        "correlation with the result, black, white to move",
        f"{_signed(scale.correlation_black)}, {_signed(scale.correlation_white)}",
    )
    fitted = "none" if scale.fitted is None else f"{scale.fitted:.1f}"
    yield f"scale fitted to results (dlshogi {scale.dlshogi:.1f})", fitted
    if scale.loss_dlshogi is not None:
        fit = "none" if scale.loss is None else f"{scale.loss:.4f}"
        yield (
            "logistic loss, fitted, dlshogi's scale, one half",
            f"{fit}, {scale.loss_dlshogi:.4f}, {scale.loss_even:.4f}",
        )
    games = report.games
    if games is not None:
        yield "game ids", games.ids
        guess = "" if games.ids == "present" else " (guessed)"
        yield f"games{guess}", f"{games.games:,}"
        yield f"rows a game{guess}", f"{games.rows_per_game:.1f}"
        if games.longest is not None:
            yield "most rows of a game", f"{games.longest:,}"
    if report.duplicates is not None:
        most = report.duplicates.commonest_position
        yield "rows of the commonest position", f"{most:,}"


def _signed(value: float | None) -> str:
    return "none" if value is None else f"{value:+.3f}"
