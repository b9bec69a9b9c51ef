"""The uploads of a data command: shards as they are finished, what lists them last."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from maou.publish.config import PublishConfig
from maou.publish.mirror import Mirror
from maou.publish.payload import Payload
from maou.publish.session import Listener, ending_lines, uploading
from maou.publish.worker import Outcome, Worker


class ShardUploads:
    """Takes the names of finished files; without a store nobody listens."""

    def finished(self, names: Iterable[str]) -> None:
        """Upload shards that are finished; names that were given before are known."""

    def complete(self, names: Sequence[str], last: Sequence[str]) -> None:
        """Upload what is left, and then the files that say that it is all there."""


class _FolderUploads(ShardUploads):
    """Passes the names on to the thread."""

    def __init__(self, worker: Worker, folder: Path) -> None:
        self._worker, self._folder = worker, folder
        self._told: set[str] = set()

    def finished(self, names: Iterable[str]) -> None:
        """Upload shards that are finished; called by the thread that makes them."""
        gc.collect(0)  # what was made since the last time
        for name in names:
            if name not in self._told:
                self._told.add(name)
                self._worker.submit(name, partial(self._bring_shard, name))

    def complete(self, names: Sequence[str], last: Sequence[str]) -> None:
        """Upload what is left, and then the files that say that it is all there."""
        self.finished(names)
        self._worker.submit(last[-1], partial(self._finish, names, last))

    def _finish(
        self, names: Sequence[str], last: Sequence[str], mirror: Mirror
    ) -> None:
        for name in names:  # also those that failed before
            self._bring_shard(name, mirror)
        for name in last:
            with Payload.of_file(self._folder / name, mirror.checksum) as payload:
                mirror.put(name, payload)

    def _bring_shard(self, name: str, mirror: Mirror) -> None:
        path = self._folder / name
        if mirror.knows(name, path.stat().st_size):  # a finished shard never changes
            return
        with Payload.of_file(path, mirror.checksum) as payload:
            mirror.put(name, payload)


@contextmanager
def publishing_shards(
    config: PublishConfig, folder: Path, listener: Listener
) -> Iterator[ShardUploads]:
    """Mirror a data set while the block makes it, and report at its end.

    Args:
        config: the store, if any; the base path becomes the data set's place.
        folder: where the data set is made.
        listener: told how it goes.
    """

    def ending(outcome: Outcome) -> list[str]:
        return ending_lines(outcome, [], "run the same command again")

    with uploading(config, folder, "", listener, ending) as worker:
        if worker is None:
            yield ShardUploads()
            return
        # Boards of rsshogi may be freed by the thread that made them only, so garbage
        # is collected there, in `finished`, and never where the uploads run.
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            yield _FolderUploads(worker, folder)
        finally:
            if was_enabled:
                gc.enable()
