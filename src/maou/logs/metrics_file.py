"""`metrics.jsonl`: what TensorBoard shows, as one JSON object a line for scripts."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from maou.files import atomic_write
from maou.logs.report import Health
from maou.reading import open_to_append
from maou.train.events import Event
from maou.train.hooks import Hook
from maou.train.state import TrainState
from maou.train.task import Metrics

METRICS_FILE = "metrics.jsonl"


class MetricsFile(Hook):
    """Appends a line for each health report and each validation.

    A line that cannot be written is left out; training goes on.
    """

    def __init__(
        self, path: Path, state: TrainState, tell: Callable[[str], None]
    ) -> None:
        """Choose the file.

        Lines of what comes after `state` are of a run that was cut off there, and are
        removed; where that fails, before the next line is written.

        Args:
            path: the file.
            state: where training begins, or goes on.
            tell: called with what there is to say when a line cannot be written.
        """
        self._path, self._tell = path, tell
        self._missing = 0
        self._failed = False
        self._begin = None if state.before is None else (state.epoch, state.step)
        self._is_tidy = False
        self._attempt(self._tidy)

    def health(self, health: Health) -> None:
        """Write a training line."""
        entry = asdict(health)
        means = entry.pop("means")
        self._append({"kind": "training", **entry, **means})

    def on_start(self, state: TrainState, before: Metrics) -> None:
        """Write the untrained network's metrics."""
        self._append(_validation(state, before))

    def on_event(self, state: TrainState, event: Event) -> None:
        """Write a line of its kind."""
        self._append({"kind": event.kind, "step": event.step, **event.values})

    def on_epoch(
        self, state: TrainState, metrics: Metrics, best: frozenset[str]
    ) -> None:
        """Write a validation line."""
        self._append({**_validation(state, metrics), "best": sorted(best)})

    def _append(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry).encode() + b"\n"

        def append() -> None:
            self._tidy()
            _append_line(self._path, line)

        if not self._attempt(append):
            self._missing += 1
        elif self._failed:
            self._tell(f"{self._path}: written again; lines missing: {self._missing}")
            self._failed, self._missing = False, 0

    def _attempt(self, write: Callable[[], None]) -> bool:
        """Write something; tell of the first failure; return whether it was written."""
        try:
            write()
        except OSError as error:
            if not self._failed:
                self._tell(
                    f"Warning: cannot write {self._path}: {error.strerror or error}; "
                    "training goes on, lines will be missing there"
                )
            self._failed = True
            return False
        return True

    def _tidy(self) -> None:
        """Remove, once, what was cut off, and end the last line if it is not ended."""
        if self._is_tidy:
            return
        if os.path.lexists(self._path):
            with open_to_append(self._path) as stream:
                stream.seek(0)
                data = stream.read()
            lines = (line + b"\n" for line in data.splitlines())
            kept = b"".join(line for line in lines if _belongs(line, self._begin))
            if kept != data:
                with atomic_write(self._path) as stream:
                    stream.write(kept)
        self._is_tidy = True


def _append_line(path: Path, line: bytes) -> None:
    """Append a whole line or nothing, durably."""
    with open_to_append(path) as stream:
        before = stream.tell()
        try:
            written = stream.write(line)
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(before)
            raise
        if written != len(line):
            stream.truncate(before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _belongs(line: bytes, begin: tuple[int, int] | None) -> bool:
    """Tell whether a line is not after an epoch and step; a torn one never belongs."""
    if begin is None:
        return False
    epoch, step = begin
    try:
        entry = json.loads(line)
        if entry["kind"] == "validation" and int(entry["epoch"]) > epoch:
            return False
        return int(entry["step"]) <= step
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return False


def _validation(state: TrainState, metrics: Metrics) -> dict[str, Any]:
    place = {"kind": "validation", "epoch": state.epoch, "step": state.step}
    return {**place, **asdict(metrics)}
