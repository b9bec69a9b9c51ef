"""What was uploaded from a folder, in a file beside it, so that a later start knows.

Lines of JSON, added as things happen; a line that was cut off counts for nothing. It
holds names, sizes and hashes, and no secret.
"""

import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = ".upload"
"""The hidden folder that holds the journal and what waits to be uploaded."""

_FILE = "journal.jsonl"
_VERSION = 1


@dataclass(frozen=True)
class Sent:
    """An object that was uploaded.

    Attributes:
        sha256: its bytes' hash.
        version: the store's version of it.
        modified: when the file that it was made of was changed, in nanoseconds; 0 of
            what was no file.
    """

    sha256: str
    version: str
    modified: int = 0


class Journal:
    """The journal of one folder and one place in a store.

    Attributes:
        id: names this folder's mirror; another one never writes to the same place.
        place: the folder's name in the store; None until it is settled.
        sent: what was uploaded, by key.
        started: uploads in parts that were begun, by key: their name and hash.
    """

    def __init__(self, folder: Path, store: str, known: str = "") -> None:
        """Read the journal, or begin one.

        Args:
            folder: what is mirrored; made if missing.
            store: where to; a journal of another place is replaced.
            known: the mirror's id, where a downloaded copy says it.

        Raises:
            OSError: it cannot be read or written.
        """
        self.id = known or uuid.uuid4().hex
        self.place: str | None = None
        self.sent: dict[str, Sent] = {}
        self.started: dict[str, tuple[str, str]] = {}
        self._path = folder / FOLDER / _FILE
        self._path.parent.mkdir(parents=True, exist_ok=True)
        entries = self._read()
        head = entries[0] if entries else {}
        if head.get("version") == _VERSION and head.get("store") == store:
            self.id = head["id"]
            for entry in entries[1:]:
                self._take(entry)
        else:
            self._path.unlink(missing_ok=True)
            self._add({"version": _VERSION, "store": store, "id": self.id})

    def settle(self, place: str) -> None:
        """Note the folder's name in the store."""
        self._note({"place": place})

    def note(self, key: str, sent: Sent) -> None:
        """Note that an object was uploaded."""
        self._note({"key": key, **asdict(sent)})

    def begin(self, key: str, upload: str, sha256: str) -> None:
        """Note that an upload in parts was begun."""
        self._note({"key": key, "upload": upload, "sha256": sha256})

    def forget(self, key: str) -> None:
        """Note that an object was removed."""
        self._note({"key": key, "removed": True})

    def _note(self, entry: dict[str, Any]) -> None:
        self._add(entry)
        self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        key = entry.get("key", "")
        if "place" in entry:
            self.place = entry["place"]
        elif "upload" in entry:
            self.started[key] = (entry["upload"], entry["sha256"])
        elif "removed" in entry:
            self.sent.pop(key, None)
        else:
            self.started.pop(key, None)
            # Journals of earlier versions do not say when a file was changed.
            modified = entry.get("modified", 0)
            self.sent[key] = Sent(entry["sha256"], entry["version"], modified)

    def _add(self, entry: dict[str, Any]) -> None:
        with self._path.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")

    def _read(self) -> list[dict[str, Any]]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):  # cut off: what is added goes to a line of its own
            self._path.write_bytes(whole)
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except ValueError:
            return []
