"""Processes in which system calls fail, or are the last; see `system_faults.c`."""

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CREATE, WRITE, SYNC, RENAME, LINK, REMOVE, MKDIR = (1 << bit for bit in range(7))
ANY = 127
_KILL, _SIGNAL, _FAIL, _STICKY = 1, 2, 3, 4

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Rule:
    """What befalls the `nth` call of some kinds, in whose path and data these occur."""

    kinds: int
    path: str = ""
    needle: str = ""
    nth: int = 1
    action: int = _KILL
    argument: int = 0

    def plain(self) -> list[Any]:
        return list(vars(self).values())


def killed(nth: int, path: str, kinds: int = ANY) -> Rule:
    """End the process at the nth call."""
    return Rule(kinds, path, nth=nth)


def signalled(
    number: int,
    kinds: int,
    path: str = "",
    needle: str = "",
    nth: int = 1,
    milliseconds: int = 0,
) -> Rule:
    """Send the process a signal at the nth call, or some time later."""
    return Rule(kinds, path, needle, nth, _SIGNAL, number + 1000 * milliseconds)


def failing(
    kinds: int, path: str, error: int = errno.ENOSPC, nth: int = 1, once: bool = False
) -> Rule:
    """Fail the nth call, and those after it."""
    return Rule(kinds, path, "", nth, _FAIL if once else _STICKY, error)


@dataclass
class Processes:
    """Starts processes, one at a time.

    Attributes:
        folder: where the server's own files are.
    """

    folder: Path
    _server: "subprocess.Popen[str] | None" = field(default=None, repr=False)

    def run(self, folder: Path, *rules: Rule, **job: Any) -> tuple[int, str]:
        """Run a job in a folder; give its exit code and all that it printed.

        The job is `learn` (arguments of learn-model), or `call` (module:function) with
        `arguments`; see fork_server for what else it may have.
        """
        server = self._started()
        assert server.stdin is not None
        assert server.stdout is not None
        output = self.folder / "output.txt"
        plain = [rule.plain() for rule in rules]
        job |= {"folder": str(folder), "output": str(output), "rules": plain}
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        return code, output.read_text(errors="replace")

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.communicate(timeout=60)

    def _started(self) -> "subprocess.Popen[str]":
        if self._server is None:
            library = self.folder / "system_faults.so"
            source = HERE / "system_faults.c"
            options = ("-O1", "-shared", "-fPIC", "-w", "-o", library)
            subprocess.run([compiler(), *options, source, "-ldl"], check=True)
            self._server = subprocess.Popen(
                [sys.executable, HERE / "fork_server.py"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"},
            )
            assert self._server.stdout is not None
            assert self._server.stdout.readline() == "ready\n"
        return self._server


def compiler() -> str:
    """Find the C compiler (torch.compile needs one as well), or nothing."""
    return shutil.which("cc") or shutil.which("gcc") or ""
