"""Worker processes that end with their parent, however it ends.

Each worker has a pipe of its own: when the parent dies, even by SIGKILL, the pipe
closes and the worker leaves. A worker that dies is noticed at once.
"""

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable
from multiprocessing import connection
from types import TracebackType
from typing import Any, Self

from maou.errors import MaouError


class Ticket:
    """A job that was handed in, and its value once it is done."""

    def __init__(self, job: tuple[Callable[..., Any], tuple[Any, ...]]) -> None:
        self.job = job
        self.done = False
        self.value: Any = None


def _work(pipe: connection.Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, arguments = pipe.recv()
            try:
                answer = (True, function(*arguments))
            except Exception as error:  # noqa: BLE001 - raised again in the parent
                answer = (False, error)
            pipe.send(answer)


class Workers:
    """Runs jobs in processes; with none, in this process as they are handed in."""

    def __init__(self, count: int) -> None:
        """Start the processes (spawned: they share nothing with this one)."""
        context = multiprocessing.get_context("spawn")
        self._waiting: deque[Ticket] = deque()
        self._idle: list[connection.Connection] = []
        self._busy: dict[connection.Connection, Ticket] = {}
        self._processes = []
        self._inline = count == 0
        for _ in range(count):
            mine, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._idle.append(mine)
            self._processes.append(process)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the processes; after an error, without waiting for their jobs."""
        for pipe in (*self._idle, *self._busy):
            pipe.close()
        for process in self._processes:
            if error is not None:
                process.terminate()
            process.join()

    def submit(
        self, function: Callable[..., Any], *arguments: Any, first: bool = False
    ) -> Ticket:
        """Hand in a job, at the head of those that wait if `first`."""
        ticket = Ticket((function, arguments))
        if self._inline:
            ticket.value, ticket.done = function(*arguments), True
            return ticket
        if first:
            self._waiting.appendleft(ticket)
        else:
            self._waiting.append(ticket)
        self._hand_out()
        return ticket

    def result(self, ticket: Ticket) -> Any:
        """Wait for a job and return its value.

        Raises:
            MaouError: a worker process died.
            Exception: what the job raised.
        """
        self._collect(0)  # so that no worker idles while others are waited for
        while not ticket.done:
            self._collect(None)
        return ticket.value

    def _collect(self, timeout: float | None) -> None:
        for pipe in connection.wait(list(self._busy), timeout):
            assert isinstance(pipe, connection.Connection)
            self._receive(pipe)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._idle and self._waiting:
            pipe, ticket = self._idle.pop(), self._waiting.popleft()
            self._busy[pipe] = ticket
            try:
                pipe.send(ticket.job)
            except OSError as error:
                raise _died() from error

    def _receive(self, pipe: connection.Connection) -> None:
        ticket = self._busy.pop(pipe)
        try:
            good, value = pipe.recv()
        except (EOFError, OSError) as error:
            raise _died() from error
        self._idle.append(pipe)
        if not good:
            raise value
        ticket.value, ticket.done = value, True


def _died() -> MaouError:
    return MaouError(
        "a worker process died, perhaps for lack of memory; run the same command again "
        "to go on from the last finished shard, with a smaller --workers or "
        "--shard-rows if it was memory"
    )


def available_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0))
