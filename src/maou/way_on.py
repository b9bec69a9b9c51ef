"""How to go on with a run that a signal or a store ended: the exact command."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from maou.checkpoint.resume import ResumePoint, resume_command
from maou.checks import changed_flags
from maou.config import RunConfig, run_config_from_record
from maou.errors import Interrupted

_TIMEOUT = "--upload-timeout"


@dataclass
class WayOn:
    """The command that goes on with this run.

    Attributes:
        run_folder: the run's.
        begun_from: the checkpoint that it went on from; None when one was saved since.
        flags: what was changed then; it is in no checkpoint before one is saved.
    """

    run_folder: Path
    begun_from: Path | None = None
    flags: str = ""

    def saved(self) -> None:
        """Take note that a checkpoint has the settings of now."""
        self.begun_from, self.flags = None, ""

    @property
    def command(self) -> str:
        """Give the command."""
        return self.command_with()

    def command_with(self, upload_timeout: float | None = None) -> str:
        """Give the command, with another `--upload-timeout` if one is given."""
        words = shlex.split(self.flags)
        if upload_timeout is not None:
            if _TIMEOUT in words:
                at = words.index(_TIMEOUT)
                del words[at : at + 2]
            words += [_TIMEOUT, f"{upload_timeout:g}"]
        return resume_command(self.begun_from or self.run_folder, shlex.join(words))

    @contextmanager
    def told(self) -> Iterator[None]:
        """Have a signal say how to go on, unless it says so already."""
        try:
            yield
        except Interrupted as signal:
            if signal.is_explained:
                raise
            message = f"Interrupted. Go on with\n  {self.command}"
            raise Interrupted(signal.number, message) from signal


def way_on_of(
    resume: ResumePoint, config: RunConfig, allow_changed_data: bool
) -> WayOn:
    """Say how to go on with a run that goes on.

    Args:
        resume: where it goes on.
        config: its settings now.
        allow_changed_data: whether other data is allowed.
    """
    if resume.folder is None:
        return WayOn(resume.run_folder)
    flags = changed_flags(run_config_from_record(resume.settings), config)
    if allow_changed_data:
        flags = f"{flags} --allow-changed-data".lstrip()
    return WayOn(resume.run_folder, resume.folder, flags)
