"""What the commands that read an input have in common."""

from typing import Any, TypeVar

from maou.cli import console
from maou.cli.options import build
from maou.sources.choosing import warnings_for
from maou.sources.config import InputConfig

C = TypeVar("C", bound=InputConfig)


def build_reading(cls: type[C], values: dict[str, Any]) -> C:
    """Make the configuration of a command that reads an input.

    Flags of the input that have no effect are named in warnings.

    Raises:
        ConfigError: as `build` does.
    """
    config = build(cls, values)
    for text in warnings_for(config):
        console.warn(text)
    return config
