"""The uploads of a data command: shards as they are finished, what lists them last.

Where the file that lists a data set's shards is, they are all there, and no others are.
So that of an earlier data set is removed before anything comes, and that data set's
other shards are before the new file does.
"""

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from maou.publish.config import PublishConfig
from maou.publish.mirror import CLAIM, Mirror, TakenError
from maou.publish.payload import Payload
from maou.publish.session import Listener, ending_lines, longer_timeout, uploading
from maou.publish.worker import Outcome, Worker


class ShardUploads:
    """Takes the names of finished files; without a store nobody listens."""

    def finished(self, names: Iterable[str]) -> None:
        """Upload shards that are finished; names that were given before are known."""

    def complete(self, names: Sequence[str]) -> None:
        """Upload what is left, and then the files that say that it is all there."""


class _FolderUploads(ShardUploads):
    """Passes the names on to the thread."""

    def __init__(
        self, worker: Worker, config: PublishConfig, folder: Path, last: Sequence[str]
    ) -> None:
        self._worker, self._folder, self._last = worker, folder, last
        self._flag = f"--{config.provider}-base-path"
        self._told: set[str] = set()
        self._has_room = False

    def finished(self, names: Iterable[str]) -> None:
        """Upload shards that are finished; called by the thread that makes them."""
        gc.collect(0)  # what was made since the last time
        for name in names:
            if name not in self._told:
                self._told.add(name)
                self._worker.submit(name, partial(self._bring_shard, name))

    def complete(self, names: Sequence[str]) -> None:
        """Upload what is left, and then the files that say that it is all there."""
        self.finished(names)
        self._worker.submit(self._last[-1], partial(self._finish, names))

    def _finish(self, names: Sequence[str], mirror: Mirror) -> None:
        self._make_room(mirror)
        for name in names:  # also those that failed before
            self._bring_shard(name, mirror)
        self._remove_others(names, mirror)
        for name in self._last:
            with self._payload(name, mirror) as payload:
                mirror.put(name, payload)

    def _bring_shard(self, name: str, mirror: Mirror) -> None:
        self._make_room(mirror)
        if mirror.knows_file(name, (self._folder / name).stat()):
            return
        with self._payload(name, mirror) as payload:
            mirror.put(name, payload)

    def _make_room(self, mirror: Mirror) -> None:
        """Remove the file that lists the shards of an earlier data set."""
        state = self._last[-1]
        if not self._has_room and mirror.holds(state):
            with self._payload(state, mirror) as payload:
                is_earlier = not mirror.has(state, payload)
            if is_earlier:
                self._remove(state, mirror)
        self._has_room = True

    def _remove_others(self, names: Sequence[str], mirror: Mirror) -> None:
        """Remove what an earlier data set left there."""
        kept = {*names, *self._last, CLAIM}
        kinds = {Path(name).suffix for name in names}
        for name in sorted(set(mirror.names("")) - kept):
            if mirror.is_own(name) or Path(name).suffix in kinds:
                self._remove(name, mirror)

    def _remove(self, name: str, mirror: Mirror) -> None:
        if not mirror.is_own(name):
            raise TakenError(
                f"{mirror.url(name)}: is of another data set and was not uploaded from "
                f"here; remove it, or name a place of its own with {self._flag}"
            )
        mirror.remove(name)

    def _payload(self, name: str, mirror: Mirror) -> Payload:
        return Payload.of_file(self._folder / name, mirror.checksum)


@contextmanager
def publishing_shards(
    config: PublishConfig, folder: Path, last: Sequence[str], listener: Listener
) -> Iterator[ShardUploads]:
    """Mirror a data set while the block makes it, and report at its end.

    Args:
        config: the store, if any; the base path becomes the data set's place.
        folder: where the data set is made.
        last: the files that come last; the very last one lists the shards.
        listener: told how it goes.
    """

    def ending(outcome: Outcome) -> list[str]:
        remedy, timeout = "run the same command again", longer_timeout(config, outcome)
        if timeout is not None:
            remedy += f" with --upload-timeout {timeout:g}"
        return ending_lines(outcome, [], remedy)

    with uploading(config, folder, "", listener, ending) as worker:
        if worker is None:
            yield ShardUploads()
            return
        # Boards of rsshogi may be freed by the thread that made them only, so garbage
        # is collected there, in `finished`, and never where the uploads run.
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            yield _FolderUploads(worker, config, folder, last)
        finally:
            if was_enabled:
                gc.enable()
