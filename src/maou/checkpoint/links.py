"""What `last`, `best` and the other links of a run's folder mean.

Stores know no links: there, and in a copy that was fetched from one, `checkpoints.json`
says what they mean.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from maou.reading import json_object, read_limited

LINKS = "checkpoints.json"
_VERSION = 1


def links_of(folder: Path) -> dict[str, str]:
    """Give the checkpoint that each link of a folder names."""
    return {
        path.name: path.readlink().name
        for path in sorted(folder.iterdir())
        if path.is_symlink() and not path.name.startswith(".")
    }


def saved_links(links: Mapping[str, str]) -> bytes:
    """Render the contents of `checkpoints.json`."""
    text = json.dumps({"version": _VERSION, "links": dict(sorted(links.items()))})
    return text.encode() + b"\n"


def parse_links(data: bytes) -> dict[str, str]:
    """Read the contents of `checkpoints.json`; empty where they are something else."""
    try:
        links = json_object(data)["links"]
        return {str(link): Path(str(target)).name for link, target in links.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def read_links(folder: Path) -> dict[str, str]:
    """Read `checkpoints.json` of a fetched copy; empty where there is none."""
    try:
        return parse_links(read_limited(folder / LINKS))
    except (OSError, ValueError):
        return {}
