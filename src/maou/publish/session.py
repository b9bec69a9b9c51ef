"""The uploads of one command, from its beginning to its last lines."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from maou.errors import ConfigError, Interrupted
from maou.publish.config import PublishConfig
from maou.publish.mirror import opening
from maou.publish.target import require_extra
from maou.publish.worker import INTERRUPTED, Outcome, Worker
from maou.sources.fetch import DEFAULT_RETRIES

RETRIES = DEFAULT_RETRIES


class Listener(Protocol):
    """Who is told how uploads go."""

    def note(self, text: str) -> None:
        """Show a line about what is being done."""

    def warn(self, text: str) -> None:
        """Show a warning."""

    def result(self, text: str) -> None:
        """Show a line of the result."""


@contextmanager
def uploading(
    config: PublishConfig,
    folder: Path,
    place: str,
    listener: Listener,
    ending: Callable[[Outcome], list[str]],
) -> Iterator[Worker | None]:
    """Upload in the background while the block runs; at its end wait, and report.

    Nothing that goes wrong with it is raised here. The wait is short after a signal,
    also after one that comes meanwhile, and a second signal ends it.

    Args:
        config: the store, if any.
        folder: what is mirrored; the journal goes there.
        place: its name in the store, or empty for the base path alone.
        listener: told how it goes.
        ending: makes the last lines.

    Yields:
        What takes jobs; None where nothing is to be uploaded.
    """
    if config.provider is None:
        yield None
        return
    try:
        require_extra(config.provider)
    except ConfigError as error:
        listener.warn(f"{error}. Until then nothing is uploaded, only written here.")
        yield None
        return
    gc.collect()  # boards of rsshogi may be freed by the thread that made them only
    worker = Worker(
        opening(config, folder, place, RETRIES),
        lambda reason: listener.warn(f"not uploaded yet: {reason}"),
    )
    timeout, is_signalled = config.upload_timeout, False
    try:
        try:
            yield worker
        except (Interrupted, KeyboardInterrupt, SystemExit):
            is_signalled = True
            raise
        finally:
            if not is_signalled:
                worker.wait(timeout, listener.note)
    except (Interrupted, KeyboardInterrupt):  # a SystemExit is a second signal
        worker.wait(min(timeout, INTERRUPTED), listener.note, "after the signal")
        raise
    finally:
        worker.stop()
        for line in ending(worker.outcome()):
            listener.result(line)


def longer_timeout(config: PublishConfig, outcome: Outcome) -> float | None:
    """Propose another `--upload-timeout` where it was too short."""
    least = PublishConfig().upload_timeout
    return max(least, 2 * config.upload_timeout) if outcome.is_late else None


def ending_lines(outcome: Outcome, contents: list[str], remedy: str) -> list[str]:
    """Lay out what is uploaded and what is pending.

    Args:
        outcome: what came of the uploads.
        contents: lines about what is in the store now.
        remedy: how to upload the rest.
    """
    lines = ["uploaded     nothing"]
    if outcome.mirror is not None:
        sent = outcome.mirror.sent
        moved = f"{sent.objects} objects, {sent.bytes / 1e6:,.1f} MB"
        lines = [f"uploaded     {moved}, to {outcome.mirror.where}"]
    lines += [f"{'':13}{text}" for text in contents]
    if not outcome.pending:
        if outcome.mirror is None:
            return []  # the command ended before there was anything to upload
        return [*lines, "pending      nothing"]
    lines.append(f"pending      {', '.join(outcome.pending)}")
    if outcome.reason:
        lines.append(f"{'':13}{outcome.reason}")
    if outcome.is_refused:  # the reason says what to do
        return [*lines, f"{'':13}Nothing is lost here."]
    return [*lines, f"{'':13}Nothing is lost here. To upload the rest: {remedy}"]
