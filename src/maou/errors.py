"""The errors that reach a user, one type a boundary.

Each message says what is wrong, where, and what to do. The command line prints
the message alone and exits with the type's `exit_code`; it never shows a
traceback for these.
"""


class MaouError(Exception):
    """Base of every error that a user can act on."""

    exit_code = 1


class ConfigError(MaouError, ValueError):
    """A setting, or a combination of settings, that cannot be meant."""

    exit_code = 2


class DataError(MaouError, ValueError):
    """Game records or shards that cannot be read as what they claim to be."""

    exit_code = 2


class CheckpointError(MaouError, ValueError):
    """A checkpoint or an exported model that is damaged or does not fit."""

    exit_code = 2


class RemoteError(MaouError, RuntimeError):
    """A store in the cloud that cannot be reached, refuses, or gives wrong bytes."""


class WrongBytesError(RemoteError):
    """Bytes that were used before they turned out to be wrong."""


class TrainingError(MaouError, RuntimeError):
    """A run that started well and cannot go on."""


class Interrupted(BaseException):
    """A run that a signal ended; the exit code says which.

    Not an `Exception`, as KeyboardInterrupt is none: it is raised wherever the signal
    came, and a library's `except Exception` there must not take it for its own.

    Attributes:
        number: the signal's.
        exit_code: what the process ends with.
        is_explained: whether the message says where things are left.
    """

    def __init__(self, number: int, message: str = "") -> None:
        """Take the signal's number, and what there is to say."""
        super().__init__(message or "Interrupted.")
        self.number = number
        self.exit_code = 128 + number
        self.is_explained = bool(message)


class BugError(MaouError, AssertionError):
    """A contradiction within maou itself; what it computed is not to be trusted."""

    def __init__(self, found: str) -> None:
        """Take what contradicts what, with the numbers."""
        super().__init__(
            f"a bug in maou: {found}. Nothing was saved since the last checkpoint; "
            "please report this with the run's run.toml"
        )
