"""The thread that uploads, while everything else goes on.

Jobs wait in a queue of its own. Nothing that it does makes the command wait, until the
command ends; nothing that goes wrong with it ends the command.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from maou.errors import MaouError, RemoteError
from maou.publish.mirror import Mirror, Open, TakenError
from maou.publish.sending import Stopped

Job = Callable[[Mirror], None]

PAUSE = 60.0
"""Seconds after a failure until it is tried anew, while the command goes on."""

INTERRUPTED = 15.0
"""At most so many seconds are waited for uploads after a signal."""

_LINES = 5.0  # seconds between two lines of progress
_LIMIT = "(--upload-timeout)"


@dataclass(frozen=True)
class Outcome:
    """What came of the uploads.

    Attributes:
        mirror: what is in the store now; None if it was never reached.
        pending: what was not uploaded, by title.
        reason: why, if something went wrong.
        is_late: whether more time (`--upload-timeout`) would have helped.
        is_refused: whether the place is not ours: trying again will not help.
    """

    mirror: Mirror | None
    pending: tuple[str, ...]
    reason: str
    is_late: bool
    is_refused: bool


class Worker:
    """Does jobs in order, in a thread of its own."""

    def __init__(
        self, open_mirror: Open, warn: Callable[[str], None], pause: float = PAUSE
    ) -> None:
        """Start the thread.

        Args:
            open_mirror: opens the mirror that jobs get; called before the first.
            warn: called, by the thread, with each new reason of a failure.
            pause: seconds to wait after a failure.
        """
        self._open, self._warn, self._pause = open_mirror, warn, pause
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._lost: dict[str, str] = {}
        self._stop, self._closing = threading.Event(), threading.Event()
        self._mirror: Mirror | None = None
        self._reason, self._is_late, self._is_refused = "", False, False
        # An interrupted `join` may take a thread for ended that is not (bpo-45274).
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="upload", daemon=True).start()

    def submit(self, title: str, job: Job) -> None:
        """Add a job; it takes the place of a waiting one with the same title."""
        with self._changed:
            self._jobs[title] = job
            self._changed.notify()

    def titles(self) -> list[str]:
        """List what is not done."""
        with self._changed:
            return list(self._jobs)

    def wait(
        self, timeout: float, tell: Callable[[str], None], limit: str = _LIMIT
    ) -> None:
        """Wait for the jobs that are left, at most so many seconds.

        Args:
            timeout: seconds.
            tell: called with lines about the progress.
            limit: where that limit is from.
        """
        end, told = time.monotonic() + timeout, time.monotonic()
        self._closing.set()
        with self._changed:
            self._changed.notify()
        while not self._ended.is_set() and time.monotonic() < end:
            self._ended.wait(min(0.1, timeout))
            if time.monotonic() - told >= _LINES:
                told = time.monotonic()
                tell(self._progress(end - told))
        if not self._ended.is_set():
            self._is_late = limit == _LIMIT
            self._reason = self._reason or f"not done within {timeout:g} s {limit}"

    def stop(self) -> None:
        """Have the thread end: nobody waits any more."""
        self._stop.set()
        self._closing.set()
        with self._changed:
            self._changed.notify()

    def outcome(self) -> Outcome:
        """Say what came of the uploads."""
        mirror = self._mirror
        pending = (*self.titles(), *self._lost.values())
        return Outcome(mirror, pending, self._reason, self._is_late, self._is_refused)

    def _progress(self, left: float) -> str:
        titles = self.titles()
        sent = 0 if self._mirror is None else self._mirror.sent.bytes
        return (
            f"uploading: {len(titles)} left ({', '.join(titles[:1])}), "
            f"{sent / 1e6:,.1f} MB sent; waiting for at most {max(0, left):.0f} s more"
        )

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._ended.set()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closing.is_set())
                if not self._jobs:
                    return
                title, job = next(iter(self._jobs.items()))
            try:
                if self._mirror is None:
                    self._mirror = self._open(self._stop)
                job(self._mirror)
            except Stopped:
                return
            except RemoteError as error:
                self._is_refused = isinstance(error, TakenError)
                if not self._tries_again(title, str(error)):
                    return
            except (MaouError, OSError) as error:
                self._lose(title, f"{title}: {error}")
            except Exception as error:  # noqa: BLE001 - uploads never end a command
                # Its text may quote anything, a secret too.
                self._lose(title, f"{title}: unexpected {type(error).__name__}")
            else:
                self._drop(title, job)

    def _drop(self, title: str, job: Job) -> None:
        with self._changed:
            if self._jobs.get(title) is job:  # else it was submitted anew
                del self._jobs[title]
        if not self._lost:
            self._reason = ""

    def _tries_again(self, title: str, reason: str) -> bool:
        """Put a job that failed behind the others, and wait; False: give up."""
        self._fail(reason)
        with self._changed:
            self._jobs[title] = self._jobs.pop(title)
        return not self._closing.is_set() and not self._closed_meanwhile()

    def _closed_meanwhile(self) -> bool:
        self._closing.wait(self._pause)
        return self._stop.is_set()

    def _lose(self, title: str, reason: str) -> None:
        """Leave out a job that no try can help."""
        self._fail(reason)
        with self._changed:
            self._jobs.pop(title, None)
            self._lost[title] = reason

    def _fail(self, reason: str) -> None:
        if reason != self._reason and not self._stop.is_set():
            self._warn(reason)
        self._reason = reason
