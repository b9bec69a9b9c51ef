"""What may stand where a file of ours belongs, and is none."""

import os
from pathlib import Path

KINDS = ("link", "broken link", "pipe", "folder")


def put(kind: str, path: Path, outside: Path, text: str) -> None:
    """Put such a thing there; a link leads to the file `outside`, with the text."""
    if kind == "link":
        outside.write_text(text)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(outside)
