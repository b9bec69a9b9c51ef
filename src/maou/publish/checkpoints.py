"""Mirroring checkpoints: whole ones only, and what names them last.

The order is what a reader of the bucket may rely on:

1. a checkpoint's files;
2. its MANIFEST.json: where it is, all files that it names are there and match it;
3. `checkpoints.json`, which says what `best` and `last` are: only whole ones;
4. only then are checkpoints removed that the run's folder no longer keeps, each
   beginning with its manifest.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maou.checkpoint.folders import STATE
from maou.checkpoint.links import LINKS, links_of, parse_links, saved_links
from maou.checkpoint.manifest import MANIFEST
from maou.errors import CheckpointError, RemoteError
from maou.publish.mirror import Mirror
from maou.publish.payload import Payload, json_bytes

Clean = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Takes local paths out of a run's settings, nested by package."""


@dataclass(frozen=True)
class Waiting:
    """A checkpoint that waits to be uploaded.

    Attributes:
        origin: its folder.
        files: a folder with its files, which are there even if `origin` was removed.
        links: what `best`, `last` and the others meant when it was saved.
        name: its name in the mirror, such as `models/stage1/epoch-0001-step-00000100`.
    """

    origin: Path
    files: Path
    links: dict[str, str]
    name: str

    def release(self) -> None:
        """Let go of the files."""
        if self.files != self.origin:
            shutil.rmtree(self.files, ignore_errors=True)


def hold(origin: Path, place: Path, stage: str) -> Waiting:
    """Keep a complete checkpoint's files by hard links, at hardly any cost.

    Args:
        origin: the checkpoint.
        place: a folder for the links that is not there yet, on the same file system.
        stage: `stage1`, `stage2` or empty.
    """
    name = "/".join(part for part in ("models", stage, origin.name) if part)
    files, links = place, {}
    try:
        links = links_of(origin.parent)
        place.mkdir(parents=True)
        for path in origin.iterdir():
            os.link(path, place / path.name)
    except OSError:  # a file system without them: then the folder itself must do
        shutil.rmtree(place, ignore_errors=True)
        files = origin
    return Waiting(origin, files, links, name)


def publish_checkpoint(
    mirror: Mirror, waiting: Waiting, clean: Clean, newest: Callable[[], Waiting]
) -> None:
    """Bring a checkpoint, what names it, and then remove what is no longer kept.

    Args:
        mirror: where to.
        waiting: the checkpoint; left out if the run has removed it and there is a
            newer one.
        clean: takes local paths out of its settings.
        newest: gives the latest checkpoint in the same folder.

    Raises:
        CheckpointError: its files are not what its manifest says.
        Stopped, RemoteError: as `Mirror.put` does.
    """

    def is_wanted() -> bool:
        return waiting.origin.exists() or waiting is newest()

    if is_wanted():
        try:
            _bring(mirror, waiting, clean)
        except (CheckpointError, OSError):
            if is_wanted():
                raise
            return  # without hard links it may be removed while it is read
        _write_links(mirror, _folder(waiting), newest().links, waiting.links)
        _remove_dropped(mirror, waiting.origin.parent, _folder(waiting))
    waiting.release()


def _folder(waiting: Waiting) -> str:
    return waiting.name.rpartition("/")[0]


def _bring(mirror: Mirror, waiting: Waiting, clean: Clean) -> None:
    try:
        manifest = json.loads((waiting.files / MANIFEST).read_bytes())
        entries = manifest["files"]
        state = _cleaned(waiting.files / STATE, clean)
        digest = hashlib.sha256(state).hexdigest()
        entries[STATE] = {"bytes": len(state), "sha256": digest}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"cannot be read ({type(error).__name__})") from error
    last = f"{waiting.name}/{MANIFEST}"
    with Payload.of_bytes(json_bytes(manifest), mirror.checksum) as whole:
        if mirror.holds(last) and not mirror.has(last, whole):
            # A resumed run has made the same step again, not quite the same.
            _write_links(mirror, _folder(waiting), without=waiting.origin.name)
            mirror.remove(last)
        for name, entry in entries.items():
            target = f"{waiting.name}/{name}"
            if mirror.knows(target, entry["bytes"], entry["sha256"]):
                continue
            with _payload(waiting.files / name, state, mirror.checksum) as payload:
                if payload.sha256 != entry["sha256"]:
                    raise CheckpointError(f"{name} does not match {MANIFEST}")
                mirror.put(target, payload)
        mirror.put(last, whole)


def _payload(path: Path, state: bytes, kind: str) -> Payload:
    if path.name == STATE:
        return Payload.of_bytes(state, kind)
    return Payload.of_file(path, kind)


def _cleaned(path: Path, clean: Clean) -> bytes:
    state = json.loads(path.read_bytes())
    state["settings"] = clean(state["settings"])
    return json_bytes(state)


def _write_links(
    mirror: Mirror, folder: str, *wanted: Mapping[str, str], without: str = ""
) -> None:
    """Replace `checkpoints.json`.

    Args:
        mirror: where.
        folder: the folder of the checkpoints.
        *wanted: what the links are to name: of these the first that is there as a
            whole, and if none is, what they named before.
        without: a checkpoint that is not to be named.
    """
    before = _links_in(mirror, folder)
    whole = {
        name.split("/")[0]
        for name in mirror.names(folder)
        if name.endswith(f"/{MANIFEST}") and name.count("/") == 1
    } - {without}
    found: dict[str, str] = {}
    for links in (*wanted, before):
        for link, target in links.items():
            if target in whole:
                found.setdefault(link, target)
    if found != before:
        with Payload.of_bytes(saved_links(found), mirror.checksum) as payload:
            mirror.put(f"{folder}/{LINKS}", payload)
        mirror.links[folder] = found


def _links_in(mirror: Mirror, folder: str) -> dict[str, str]:
    """Say what the links mean in the store."""
    if folder not in mirror.links:
        name = f"{folder}/{LINKS}"
        data = mirror.get(name) if mirror.holds(name) else None
        mirror.links[folder] = parse_links(data or b"")
    return mirror.links[folder]


def _remove_dropped(mirror: Mirror, local: Path, folder: str) -> None:
    """Remove what came from here and is neither named nor kept in the run's folder."""
    named = set(_links_in(mirror, folder).values())
    for checkpoint in {name.split("/")[0] for name in mirror.names(folder)}:
        first = f"{folder}/{checkpoint}/{MANIFEST}"
        if (
            not checkpoint.startswith("epoch-")
            or checkpoint in named
            or (local / checkpoint).exists()
            or (mirror.holds(first) and not mirror.was_sent(first))
        ):
            continue
        files = [
            f"{folder}/{checkpoint}/{file}"
            for file in mirror.names(f"{folder}/{checkpoint}")
        ]
        try:
            for file in sorted(files, key=lambda file: file != first):
                mirror.remove(file)
        except RemoteError:
            return  # it may not remove; then more is kept
