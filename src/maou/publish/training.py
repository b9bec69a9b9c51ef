"""The uploads of a training run: tells the thread what there is to upload.

Nothing here waits for the store. A checkpoint that is complete is held by hard links;
files that grow are read by the thread when their turn comes.
"""

import itertools
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from maou.checkpoint.folders import checkpoints_in
from maou.checkpoint.manifest import MANIFEST
from maou.publish.checkpoints import Clean, Waiting, hold, publish_checkpoint
from maou.publish.config import PublishConfig
from maou.publish.journal import FOLDER
from maou.publish.mirror import Mirror
from maou.publish.payload import Payload
from maou.publish.session import Listener, ending_lines, longer_timeout, uploading
from maou.publish.worker import Outcome, Worker
from maou.settings import as_plain
from maou.train.hooks import Hook
from maou.train.state import TrainState
from maou.train.task import Metrics

_STAGES = ("stage1", "stage2", "")
_LOGS = re.compile(r"metrics\.jsonl|events\.out\.tfevents\..+")
_EVENTS = re.compile(r"(events\.out\.tfevents\.\d+)\..*\.(\d+\.\d+)")
_FILES = "logs and models"


class Uploads(Hook):
    """What a run tells of itself; without a store nobody listens."""

    def checkpoint(self, folder: Path) -> None:
        """A checkpoint is complete."""


class _RunUploads(Uploads):
    """Passes what happens on to the thread."""

    def __init__(
        self, worker: Worker, models: Path, logs: Path, run_file: bytes, clean: Clean
    ) -> None:
        self._worker, self._models, self._logs = worker, models, logs
        self._run_file, self._clean = run_file, clean
        self._held = models / FOLDER / "held"
        self._number = itertools.count()
        self._newest: dict[Path, Waiting] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        shutil.rmtree(self._held, ignore_errors=True)
        self.files()

    def on_resume(self, state: TrainState) -> None:
        """Upload what is there: an earlier process may not have done so."""
        if self._newest:
            return  # a later stage of this process
        for stage in _STAGES:
            for folder in reversed(checkpoints_in(self._models / stage)):
                if (folder / MANIFEST).is_file():
                    self.checkpoint(folder)

    def checkpoint(self, folder: Path) -> None:
        """Upload a checkpoint, and the logs up to it."""
        stage = folder.parent.name if folder.parent != self._models else ""
        waiting = hold(folder, self._held / str(next(self._number)), stage)
        self._newest[folder.parent] = waiting
        self._worker.submit(
            waiting.name.removeprefix("models/"),
            partial(self._publish_checkpoint, waiting),
        )
        self.files()

    def on_epoch(
        self, state: TrainState, metrics: Metrics, best: frozenset[str]
    ) -> None:
        """Upload the logs."""
        self.files()

    def files(self) -> None:
        """Upload the logs and the exported models as they are when it is their turn."""
        self._worker.submit(_FILES, self._publish_files)

    def _publish_checkpoint(self, waiting: Waiting, mirror: Mirror) -> None:
        place = waiting.origin.parent
        publish_checkpoint(mirror, waiting, self._clean, lambda: self._newest[place])

    def _publish_files(self, mirror: Mirror) -> None:
        for top in ("models", "logs"):
            with Payload.of_bytes(self._run_file, mirror.checksum) as payload:
                mirror.put(f"{top}/run.toml", payload)
        for stage in _STAGES:
            for path in sorted((self._models / stage).glob("[!.]*.onnx")):
                self._put(mirror, f"models/{stage}/{path.name}", path)
            for path in sorted((self._logs / stage).glob("[!.]*")):
                if _LOGS.fullmatch(path.name):
                    name = f"logs/{stage}/{_published_name(path.name)}"
                    self._put(mirror, name, path)

    def _put(self, mirror: Mirror, name: str, path: Path) -> None:
        """Bring a file, unless it is as it was the last time."""
        name = name.replace("//", "/")
        status = path.stat()
        version = (status.st_mtime_ns, status.st_size)
        if self._seen.get(name) == version:
            return
        with Payload.of_file(path, mirror.checksum) as payload:
            if payload.size:
                mirror.put(name, payload)
        self._seen[name] = version

    def ending(self, outcome: Outcome, remedy: str) -> list[str]:
        """Make the run's last lines."""
        if not outcome.pending:
            shutil.rmtree(self._held, ignore_errors=True)
        contents = [] if outcome.mirror is None else self._contents(outcome.mirror)
        return ending_lines(outcome, contents, remedy)

    def _contents(self, mirror: Mirror) -> list[str]:
        """Say what is in the store, a line for each checkpoint and file."""
        lines = []
        for top in ("models", "logs"):
            names = sorted(mirror.names(top))
            for name in names:
                folder, _, file = name.rpartition("/")
                if file == MANIFEST:
                    lines.append(f"{mirror.place(top)}/{folder}{self._meaning(folder)}")
                elif not folder.rpartition("/")[2].startswith("epoch-"):
                    lines.append(f"{mirror.place(top)}/{name}")
        return lines

    def _meaning(self, name: str) -> str:
        stage, _, checkpoint = name.rpartition("/")
        newest = self._newest.get(self._models / stage)
        links = {} if newest is None else newest.links
        meant = [link for link, target in links.items() if target == checkpoint]
        return f" ({', '.join(meant)})" if meant else ""


def _published_name(name: str) -> str:
    """Leave the machine's name out of an event file's."""
    return _EVENTS.sub(r"\1.maou.\2", name)


@contextmanager
def publishing(
    config: PublishConfig,
    folders: tuple[Path, Path],
    run_file: str,
    clean: Clean,
    command: Callable[[float | None], str],
    listener: Listener,
) -> Iterator[Uploads]:
    """Mirror a run while the block trains, and report at its end.

    Args:
        config: the store, if any.
        folders: the run's folders of models and of logs.
        run_file: its settings, without local paths.
        clean: takes local paths out of the settings in a checkpoint.
        command: gives the command that goes on with the run, and with another
            `--upload-timeout` where that was too short.
        listener: told how it goes.
    """
    models, logs = folders

    def ending(outcome: Outcome) -> list[str]:
        if not isinstance(uploads, _RunUploads):
            return []
        return uploads.ending(outcome, command(longer_timeout(config, outcome)))

    def published(settings: Mapping[str, Any]) -> dict[str, Any]:
        """Have a copy name the place where it is, whatever the run began with."""
        place = as_plain(config)
        del place["upload_timeout"]
        publish = {**settings.get("publish", {}), **place}
        return clean({**settings, "publish": publish})

    uploads = Uploads()
    with uploading(config, models, models.name, listener, ending) as worker:
        if worker is None:
            yield uploads
            return
        uploads = running = _RunUploads(
            worker, models, logs, run_file.encode(), published
        )
        try:
            yield uploads
        finally:
            running.files()
