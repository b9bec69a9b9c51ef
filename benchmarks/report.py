"""How benchmarks measure and print: paired rounds, a table, one JSON line.

Every benchmark prints ours and the other's figure from one run, taken in turns so that
a change of the machine's speed meets both, and ends with one JSON object.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def in_turns(
    works: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, list[float]]:
    """Time each work once a round, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            taken = seconds(work)
            if number:
                times[name].append(taken)
    return times


def median_rate(count: int, times: Sequence[float]) -> float:
    """Give things per second at the median time."""
    return count / statistics.median(times)


def show(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with aligned columns."""
    table = [headings, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(headings))]
    for row in table:
        first, *others = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join([first, *others]))


def finish(name: str, result: Mapping[str, Any]) -> None:
    """Print the JSON line."""
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    print(json.dumps({"benchmark": name, **machine, **result}))
