"""`metrics.jsonl`: what TensorBoard shows, as one JSON object a line for scripts."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from maou.files import atomic_write
from maou.logs.report import Health
from maou.train.hooks import Hook
from maou.train.state import TrainState
from maou.train.task import Metrics


class MetricsFile(Hook):
    """Appends a line for each health report and each validation."""

    def __init__(self, path: Path, step: int = 0) -> None:
        """Choose the file; its folder exists.

        Lines from after `step` are of a run that was cut off there and are removed.
        """
        self._path = path
        if path.exists():
            lines = path.read_text().splitlines(keepends=True)
            kept = [line for line in lines if step and _step_of(line) <= step]
            with atomic_write(path) as stream:
                stream.write("".join(kept).encode())

    def health(self, health: Health) -> None:
        """Write a training line."""
        entry = asdict(health)
        means = entry.pop("means")
        self._append({"kind": "training", **entry, **means})

    def on_start(self, state: TrainState, before: Metrics) -> None:
        """Write the untrained network's metrics."""
        self._append(_validation(state, before))

    def on_epoch(
        self, state: TrainState, metrics: Metrics, best: frozenset[str]
    ) -> None:
        """Write a validation line."""
        self._append({**_validation(state, metrics), "best": sorted(best)})

    def _append(self, entry: dict[str, Any]) -> None:
        with self._path.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")


def _step_of(line: str) -> float:
    """Return a line's step; a line that was cut off belongs to no step."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _validation(state: TrainState, metrics: Metrics) -> dict[str, Any]:
    place = {"kind": "validation", "epoch": state.epoch, "step": state.step}
    return {**place, **asdict(metrics)}
