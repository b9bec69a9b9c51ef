"""The uploads of the data commands, told on the terminal."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from maou.cli import console
from maou.cli.options import build
from maou.errors import ConfigError
from maou.publish.config import PublishConfig
from maou.publish.shards import ShardUploads, publishing_shards


def require_one_output(publish: PublishConfig, *, table: bool) -> None:
    """Refuse to write to two places beside the output folder.

    Raises:
        ConfigError: there are two; the message names the flags.
    """
    if publish.provider is not None and table:
        raise ConfigError(
            f"--output-{publish.provider} and --output-dataset-id both name a place to "
            "write to; give one of them"
        )


def build_publish(values: dict[str, Any]) -> PublishConfig:
    """Make the settings of the uploads; name those without effect.

    Raises:
        ConfigError: two stores, or a partner is missing.
    """
    config = build(PublishConfig, values)
    for flag, (is_idle, reason) in config.idle().items():
        if is_idle and values[flag.removeprefix("--").replace("-", "_")] is not None:
            console.warn(f"{flag} has no effect: {reason}")
    return config


class _Terminal:
    """Shows how uploads go."""

    def note(self, text: str) -> None:
        """Show a line of progress."""
        console.note(text)

    def warn(self, text: str) -> None:
        """Show a warning."""
        console.warn(text)

    def result(self, text: str) -> None:
        """Show a line of the result."""
        console.say(text)


def mirroring(
    config: PublishConfig, folder: Path, *last: str
) -> AbstractContextManager[ShardUploads]:
    """Mirror a data set while the block makes it (see `publishing_shards`)."""
    return publishing_shards(config, folder, last, _Terminal())
