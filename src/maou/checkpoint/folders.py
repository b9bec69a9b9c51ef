"""The checkpoints of a run side by side: their names, links, and which are kept.

Names that begin with a dot are in the making or on their way out. What was interrupted
there is cleared away by the next save; nothing of it was ever a checkpoint.
"""

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from maou.checkpoint.config import Keep
from maou.checkpoint.manifest import MANIFEST, verify_manifest
from maou.errors import CheckpointError
from maou.files import sync_folder
from maou.reading import read_json, read_limited

STATE = "state.json"
LAST, BEST = "last", "best"
BEST_LINKS = {
    **dict.fromkeys(("total", "element_accuracy", "f1"), BEST),
    "policy": "best-policy",
    "value": "best-value",
}
"""The link that names the best checkpoint by each of the tasks' criteria."""

_NAME = re.compile(r"epoch-([0-9]{4,})-step-([0-9]{8,})")

PARTIAL, REMOVED = ".partial", ".removed"
ABANDONED = "abandoned-"
"""Begins the name of what a run no longer goes on from."""


def checkpoint_name(epoch: int, step: int) -> str:
    """Name the checkpoint of a state."""
    return f"epoch-{epoch:04d}-step-{step:08d}"


def is_checkpoint_name(name: str) -> bool:
    """Tell whether a folder of this name is a checkpoint of a run.

    A copy that somebody made beside it, such as `epoch-...-step-...-good`, is not.
    """
    return _NAME.fullmatch(name) is not None


def contains_checkpoint_name(name: str) -> bool:
    """Tell whether a folder of this name may be a copy of a checkpoint."""
    return _NAME.search(name) is not None


def checkpoints_in(folder: Path) -> list[Path]:
    """List the checkpoints of one stage, the newest first."""
    found = [
        path
        for path in folder.glob("epoch-*-step-*")
        if is_checkpoint_name(path.name) and path.is_dir() and not path.is_symlink()
    ]
    return sorted(found, key=age, reverse=True)


def age(checkpoint: Path) -> tuple[int, int]:
    """Give a checkpoint's step and epoch, as its name says: newer ones have more."""
    match = _NAME.fullmatch(checkpoint.name)
    assert match is not None
    epoch, step = match.groups()
    return int(step), int(epoch)


def clear_leftovers(folder: Path) -> None:
    """Remove what an interrupted save or removal left behind."""
    for suffix in (PARTIAL, REMOVED):
        for path in folder.glob(f".*{suffix}"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def point(link: Path, target: str) -> None:
    """Make a relative symbolic link name `target`, replacing an older one at once.

    It is durable when the folder is flushed.
    """
    temporary = link.with_name(f".{link.name}{PARTIAL}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    try:
        temporary.replace(link)
    except BaseException:
        temporary.unlink()
        raise


def retain(folder: Path, keep: Keep) -> None:
    """Remove the checkpoints of one stage that nobody asked to keep.

    Never what a link names, nor the best ones as the newest see them: whoever goes on
    from there needs those.
    """
    if not keep.heads:
        for name in set(BEST_LINKS.values()) - {BEST}:
            (folder / name).unlink(missing_ok=True)
    if keep.last is None:
        return
    found = checkpoints_in(folder)
    named = {
        link.readlink().name
        for link in (folder / name for name in (LAST, *BEST_LINKS.values()))
        if link.is_symlink()
    }
    for newest in found[: keep.last]:
        named |= {newest.name, *_best_of(newest, keep)}
    for path in found:
        if path.name not in named:
            remove(path)


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint; at no moment is there half of one under its name."""
    going = checkpoint.with_name(f".{checkpoint.name}{REMOVED}")
    checkpoint.rename(going)
    shutil.rmtree(going)


def _best_of(checkpoint: Path, keep: Keep) -> Iterable[str]:
    """Name the checkpoints that one's links would name."""
    try:
        best = read_json(checkpoint / STATE)["best"]
        return [
            checkpoint_name(entry["epoch"], entry["step"])
            for by, entry in best.items()
            if keep.heads or BEST_LINKS[by] == BEST
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # damaged: nobody goes on from it


def set_aside(checkpoint: Path) -> Path:
    """Rename a checkpoint so that it is no longer one of the run's; give the new path.

    It is not removed: a run may have been sent back by mistake.
    """
    name = f"{ABANDONED}{checkpoint.name}"
    aside, number = checkpoint.with_name(name), 1
    while aside.exists():
        number += 1
        aside = checkpoint.with_name(f"{name}.{number}")
    checkpoint.rename(aside)
    sync_folder(checkpoint.parent)
    return aside


def make_copies_links(folder: Path) -> None:
    """Make copies of checkpoints that stand where links belong links again.

    A run that was copied with its links followed (`cp -rL`, `scp -r`) has them.

    Raises:
        CheckpointError: a folder there is no such copy, and is left alone.
    """
    copied: dict[Path, Path] = {}
    for name in (LAST, *BEST_LINKS.values()):
        link = folder / name
        if link.is_dir() and not link.is_symlink():
            origins = (path for path in checkpoints_in(folder) if _is_copy(link, path))
            origin = next(origins, None)
            if origin is None:
                raise CheckpointError(
                    f"{link}: a folder where the run has a link, and no sound copy of "
                    "a checkpoint beside it; move it away, and give the same command "
                    "again"
                )
            copied[link] = origin
    for link, origin in copied.items():
        remove(link)
        point(link, origin.name)


def _is_copy(copy: Path, checkpoint: Path) -> bool:
    """Tell whether both are sound and the same, so that one of them is enough."""
    try:
        manifests = (read_limited(path / MANIFEST) for path in (copy, checkpoint))
        if next(manifests) != next(manifests):
            return False
        verify_manifest(copy)
        verify_manifest(checkpoint)
        return {path.name for path in copy.iterdir()} <= {
            path.name for path in checkpoint.iterdir()
        }
    except (OSError, ValueError):
        return False


def mend_links(folder: Path, last: Path, best: Mapping[str, str], keep: Keep) -> None:
    """Make the links of one stage say what a checkpoint that is gone on from says.

    A crash may have come before they moved; or the run goes back to before they did.

    Args:
        folder: the stage's folder.
        last: the checkpoint.
        best: the best checkpoint's name by each criterion, as the checkpoint says.
        keep: which of them are kept.
    """
    wanted = {LAST: last.name}
    wanted |= {BEST_LINKS[by]: name for by, name in best.items()}
    for name in (LAST, *BEST_LINKS.values()):
        link, target = folder / name, wanted.get(name)
        kept = keep.heads or name in (LAST, BEST)
        if target is None or not kept or not (folder / target).is_dir():
            link.unlink(missing_ok=True)
        elif not link.is_symlink() or link.readlink().name != target:
            point(link, target)
    sync_folder(folder)
