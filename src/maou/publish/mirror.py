"""The mirror of a folder in a store: what is there, and adding to it.

Before anything else its place is claimed with a small object that holds the mirror's
id, made only if there is none: two runs of one name never write over each other.
"""

import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maou.errors import RemoteError
from maou.publish.config import PublishConfig
from maou.publish.journal import Journal, Sent
from maou.publish.payload import Payload
from maou.publish.sending import Sender
from maou.publish.target import TARGETS
from maou.sources.fetch import Retries
from maou.sources.object_store import ExistsError, RemoteObject, iterate

CLAIM = "upload.json"
_VERSION = 1


class TakenError(RemoteError):
    """A place that holds what did not come from here; trying again will not help."""


@dataclass
class Moved:
    """What this process uploaded."""

    objects: int = 0
    bytes: int = 0


class Mirror:
    """A folder's objects in a store.

    Names are relative to the mirror: `models/best.onnx` of a run, `hcpe-00000.feather`
    of a data set. Keys are made of them, of the base path and of the run's name.

    Attributes:
        sent: what this process uploaded.
        links: what `checkpoints.json` of each folder says, where that is known.
    """

    def __init__(self, sender: Sender, journal: Journal, base: str, place: str) -> None:
        """Take the bucket, the journal, and where in the bucket the mirror is."""
        self._sender, self._journal = sender, journal
        self._base, self._place = base, place
        self._there: dict[str, RemoteObject] = {}
        self.sent = Moved()
        self.links: dict[str, dict[str, str]] = {}
        self.checksum = sender.target.checksum

    def key(self, name: str) -> str:
        """Give the key of a name: the run's name goes after `models` or `logs`."""
        parts = name.split("/")
        if self._place:
            parts.insert(1, self._place)
        return "/".join(part for part in (self._base, *parts) if part)

    @property
    def where(self) -> str:
        """The address of the base path."""
        return self._sender.target.url(self._base)

    def place(self, top: str) -> str:
        """Give a top folder's place below the base path."""
        return f"{top}/{self._place}"

    def url(self, name: str) -> str:
        """Give the address of a name."""
        return self._sender.target.url(self.key(name))

    def find(self, *names: str) -> None:
        """List what is there below some names (an empty one: everything)."""
        target = self._sender.target
        for name in names:
            prefix = self.key(name)
            prefix = f"{prefix}/" if prefix else ""

            def page(rest: str, prefix: str = prefix) -> Any:
                return self._sender.ask(prefix, lambda: target.page(prefix, rest))

            self._there.update({item.key: item for item in iterate(page)})

    def names(self, folder: str) -> Iterator[str]:
        """Yield the names of all objects below a folder, without the folder's."""
        prefix = f"{self.key(folder)}/" if folder else self.key("x")[:-1]
        for key in list(self._there):
            if key.startswith(prefix):
                yield key.removeprefix(prefix)

    def claim(self, folder: str) -> bool:
        """Make the place this mirror's own; tell whether it is."""
        own = {"version": _VERSION, "id": self._journal.id}
        name = f"{folder}/{CLAIM}" if folder else CLAIM
        with Payload.of_json(own, self.checksum) as payload:
            try:
                self._sender.send(self.key(name), payload, fresh=True)
            except ExistsError:
                return id_in(self.get(name)) == self._journal.id
        return True

    def holds(self, name: str) -> bool:
        """Tell whether there is an object of that name."""
        return self.key(name) in self._there

    def knows(self, name: str, size: int, sha256: str) -> bool:
        """Tell whether we uploaded such bytes and they are still there."""
        sent = self._own(name)
        return sent is not None and (self._size(name), sent.sha256) == (size, sha256)

    def knows_file(self, name: str, status: os.stat_result) -> bool:
        """Tell whether we uploaded a file as it is now, and that is still there.

        It is not read: one that was made anew has another time.
        """
        sent, now = self._own(name), (status.st_size, status.st_mtime_ns)
        return sent is not None and (self._size(name), sent.modified) == now

    def is_own(self, name: str) -> bool:
        """Tell whether what is there under that name came from here."""
        return self._own(name) is not None

    def _own(self, name: str) -> Sent | None:
        key = self.key(name)
        item, sent = self._there.get(key), self._journal.sent.get(key)
        is_own = item is not None and sent is not None and sent.version == item.version
        return sent if is_own else None

    def _size(self, name: str) -> int:
        return self._there[self.key(name)].size

    def was_sent(self, name: str) -> bool:
        """Tell whether an object of that name came from here."""
        return self.key(name) in self._journal.sent

    def has(self, name: str, payload: Payload) -> bool:
        """Tell whether an object with these bytes is there."""
        item = self._there.get(self.key(name))
        if item is None:
            return False
        same = self._sender.target.is_same(item, payload)
        return self.knows(name, payload.size, payload.sha256) or same

    def put(self, name: str, payload: Payload) -> None:
        """Bring an object, unless it is there.

        Raises:
            Stopped, RemoteError: as `Sender.send` does.
        """
        key = self.key(name)
        if self.has(name, payload):
            sent = self._own(name)
            if sent is not None and sent.modified != payload.modified:
                self._journal.note(key, replace(sent, modified=payload.modified))
            return
        upload, sha256 = self._journal.started.get(key, ("", ""))
        item = self._sender.send(
            key,
            payload,
            started=upload if sha256 == payload.sha256 else "",
            starting=lambda upload: self._journal.begin(key, upload, payload.sha256),
        )
        self._there[key] = item
        sent = Sent(payload.sha256, item.version, payload.modified)
        self._journal.note(key, sent)
        self.sent.objects += 1
        self.sent.bytes += payload.size

    def get(self, name: str) -> bytes | None:
        """Read a small object; None where there is none."""
        key, target = self.key(name), self._sender.target
        return self._sender.ask(key, lambda: target.get(key))

    def remove(self, name: str) -> None:
        """Remove an object."""
        key, target = self.key(name), self._sender.target
        self._sender.ask(key, lambda: target.remove(key))
        self._there.pop(key, None)
        self._journal.forget(key)


def id_in(claim: bytes | None) -> str:
    """Read a mirror's id from its claim; empty where it is none."""
    try:
        return str(json.loads(claim or b"")["id"])
    except (ValueError, KeyError, TypeError):
        return ""


def id_of(folder: Path) -> str:
    """Read the id of the mirror that a folder was downloaded from; empty if none."""
    try:
        return id_in((folder / CLAIM).read_bytes())
    except OSError:
        return ""


Open = Callable[[threading.Event], Mirror]
"""Opens a mirror; the event is set when nobody waits for it any more."""


def opening(config: PublishConfig, folder: Path, place: str, retries: Retries) -> Open:
    """Say how to open the mirror of a folder, which needs the network.

    Args:
        config: the store.
        folder: the local folder; its journal is there.
        place: the name of the run; empty for a data set, which has the base path alone.
        retries: what to do when a request fails.

    Raises:
        ConfigError: the store's extra is not installed.
    """
    assert config.provider is not None
    bucket, base = config.bucket_name or "", config.base_path or ""
    store = f"{config.provider}://{bucket}/{base}"

    def open_mirror(stop: threading.Event) -> Mirror:
        assert config.provider is not None
        target = TARGETS[config.provider](bucket)
        journal = Journal(folder, store, id_of(folder))
        sender = Sender(target, retries, stop)
        top = ("models", "logs") if place else ("",)
        for name in _places(place, journal):
            mirror = Mirror(sender, journal, base, name)
            mirror.find(*top)
            free = journal.place is not None or place or not any(mirror.names(""))
            free = free or mirror.holds(CLAIM)
            if free and mirror.claim(top[0]):
                journal.settle(name)
                return mirror
        raise TakenError(
            f"{mirror.url(top[0])}: holds other objects; name a place of its own with "
            f"--{config.provider}-base-path"
        )

    return open_mirror


def _places(place: str, journal: Journal) -> Iterator[str]:
    """Yield the names to try: the settled one, or those that may be free."""
    if journal.place is not None:
        yield journal.place
        return
    yield place
    if place:
        for number in itertools.islice(itertools.count(1), 100):
            yield f"{place}-{number}"
