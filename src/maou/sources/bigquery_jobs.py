"""Jobs of BigQuery that are run once, whatever happens to the program that asks.

A job has a name of ours, and BigQuery accepts each name once: who asks again, after a
kill or a lost answer, finds the job.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from maou.sources.bigquery import BigQueryDataSource
from maou.sources.bigquery_errors import asked
from maou.sources.object_store import READ_TIMEOUT

T = TypeVar("T")

JOB_SECONDS = 3600
"""How long to wait for a job; asked again, one finds it further on."""


class BigQueryJobs(BigQueryDataSource):
    """A table that jobs read or make."""

    _place = ""

    @property
    def location(self) -> str:
        """Where the data set is, which a job's name is of no use without; else empty.

        Raises:
            RemoteError: BigQuery does not say.
        """
        if not self._place:
            dataset = self.path.rsplit(".", 1)[0]
            found: Any = self._if_there(
                lambda: self._client.get_dataset(
                    dataset, retry=None, timeout=READ_TIMEOUT
                )
            )
            self._place = "" if found is None else str(found.location)
        return self._place

    def _table(self, path: str) -> Any:
        """Describe a table; None if there is none."""
        return self._if_there(
            lambda: self._client.get_table(path, retry=None, timeout=READ_TIMEOUT)
        )

    def _drop(self, path: str) -> None:
        self._asked(
            lambda: self._client.delete_table(
                path, not_found_ok=True, retry=None, timeout=READ_TIMEOUT
            )
        )

    def _if_there(self, request: Callable[[], T]) -> T | None:
        """Ask for something that may not exist."""
        from google.api_core.exceptions import NotFound

        def found() -> T | None:
            try:
                return request()
            except NotFound:
                return None

        return self._asked(found)

    def _asked(self, request: Callable[[], T]) -> T:
        """Send a request, again where that may help."""
        return asked(self.where, self._retries, request)

    def _named(self, start: Callable[[str], Any], name: str) -> Any:
        """Start a job, or find it.

        Args:
            start: starts the job by its id.
            name: names what the job does; failed jobs keep their ids, so a number
                comes behind it.
        """
        from google.api_core.exceptions import Conflict

        number = 0
        while True:
            identity = f"{name}-{number}"
            job = self._if_there(lambda i=identity: self._job(i))  # type: ignore[misc]
            if job is None:
                try:
                    return start(identity)
                except Conflict:
                    continue  # it is there by now
            if job.state != "DONE" or not job.error_result:
                return job
            number += 1

    def _job(self, identity: str) -> Any:
        return self._client.get_job(
            identity, location=self.location, retry=None, timeout=READ_TIMEOUT
        )

    def _finished(self, start: Callable[[str], Any], name: str) -> None:
        """Run a job to its end, as `_named` does."""
        self._named(start, name).result(retry=None, timeout=JOB_SECONDS)
