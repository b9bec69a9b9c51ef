"""SIGINT, SIGTERM, SIGHUP: a run ends between two steps, with all that it has learned.

The first signal waits for what must not be cut in two, such as an optimiser step or a
checkpoint, and is an `Interrupted` there; anywhere else it is one at once. The second
signal waits for nothing: the process ends with the checkpoints that there are.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from maou.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Listens for signals while training."""

    def __init__(self) -> None:
        """Listen to nothing yet."""
        self._number = 0
        self._depth = 0
        self._before: dict[int, Any] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen; only a process's main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for number in _SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup: the run is to outlive its terminal
            self._before[number] = signal.signal(number, self._handle)
        try:
            yield
        finally:
            self._stop_listening()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Do something whole: a signal takes effect at its end.

        Raises:
            Interrupted: a signal came.
        """
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._number and not self._depth:
            raise Interrupted(self._number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        for each in self._before:
            signal.signal(each, _end_at_once)
        # Workers get the signal too; their end is no news any more.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not self._depth:
            raise Interrupted(number)

    def _stop_listening(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


def _end_at_once(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
