"""Requests to a store, again where one fails."""

import threading
from collections.abc import Callable
from typing import TypeVar

from maou.errors import RemoteError
from maou.publish.payload import Payload
from maou.publish.target import Target
from maou.sources.fetch import Retries
from maou.sources.object_store import RemoteObject, TransientError

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818 - an event, not a fault
    """Nobody waits for the uploads any more."""


class Sender:
    """Sends requests to one bucket, with patience.

    Attributes:
        target: the bucket.
        stop: set when nobody waits any more.
    """

    def __init__(self, target: Target, retries: Retries, stop: threading.Event) -> None:
        """Take the bucket, and how often to try."""
        self.target, self.stop, self._retries = target, stop, retries

    def ask(self, key: str, request: Callable[[], T]) -> T:
        """Make a request, several times if need be.

        Raises:
            Stopped: nobody waits any more.
            RemoteError: the store refuses, or does not answer.
        """
        return self._try(key, request, lambda: 0)

    def send(
        self,
        key: str,
        payload: Payload,
        *,
        fresh: bool = False,
        started: str = "",
        starting: Callable[[str], None] = lambda _: None,
    ) -> RemoteObject:
        """Send an object; after a failure, what is missing of it.

        Raises:
            ExistsError: it was to be made only if there was none.
            Stopped, RemoteError: as `ask` does.
        """
        upload = self.target.begin(
            key, payload, fresh=fresh, started=started, starting=starting
        )
        return self._try(key, upload.go_on, lambda: upload.sent)

    def _try(self, key: str, request: Callable[[], T], sent: Callable[[], int]) -> T:
        failures = 0
        while True:
            if self.stop.is_set():
                raise Stopped
            before = sent()
            try:
                return request()
            except TransientError as error:
                reason = str(error)
            failures = 1 if sent() > before else failures + 1
            if failures >= self._retries.attempts:
                raise RemoteError(
                    f"{self.target.url(key)}: failed {failures} times, the last time "
                    f"with: {reason}"
                ) from None
            if self.stop.wait(self._retries.wait(failures)):
                raise Stopped
