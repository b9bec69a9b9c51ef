"""Which source an input names: exactly one, with all of its partners.

The rules are here for every command that reads; how each command's settings extend
`InputConfig` does not matter to them.
"""

from collections.abc import Sequence

from maou.errors import ConfigError
from maou.settings import changed_flag, changed_in, settings_of
from maou.sources.config import CLOUD, InputConfig, RecordInputConfig

Idle = dict[str, tuple[bool, str]]
"""For each flag, whether it has no effect, and why."""


def check_choice(
    config: InputConfig, what: str = "the input", others: Sequence[str] = ()
) -> bool:
    """Check that at most one source is named, and completely.

    Args:
        config: the settings that name it.
        what: what sources are named for, for messages.
        others: further flags that name a source, of those that were given.

    Returns:
        Whether there is one.

    Raises:
        ConfigError: there are several, or partners are missing.
    """
    given = [*config.sources(), *others]
    if len(given) > 1:
        each = "both" if len(given) == 2 else "all"
        raise ConfigError(f"{' and '.join(given)} {each} name {what}; give one of them")
    missing = config.missing_partners()
    if missing:
        raise ConfigError(f"--input-{config.provider} also needs {', '.join(missing)}")
    return bool(given)


def require_choice(config: InputConfig, what: str) -> None:
    """Check that exactly one source is named, and completely.

    Args:
        config: the settings that name it.
        what: what a local path would be, for the message.

    Raises:
        ConfigError: there is none or there are several, or partners are missing.
    """
    if not check_choice(config):
        raise ConfigError(
            f"{config.local_flag}: is required; name {what}, or a cloud store with "
            "--input-gcs or --input-s3"
        )


def idle_settings(config: InputConfig) -> Idle:
    """Tell for each flag of a cloud source whether it is idle, and why."""
    none = config.provider is None
    without = "there is no cloud source (--input-gcs or --input-s3)"
    idle = {
        changed_flag(bound): (none, without)
        for bound in settings_of(type(config))
        if bound.setting.group == CLOUD and bound.flag not in config.sources()
    }
    if none:
        return idle
    if not config.input_local_cache:
        reason = "--no-input-local-cache keeps nothing"
        idle["--input-max-cached-bytes"] = (True, reason)
    if isinstance(config, RecordInputConfig) and not config.input_enable_bundling:
        reason = "it needs --input-enable-bundling"
        idle["--input-bundle-size-gb"] = (True, reason)
    return idle


def warnings_for(config: InputConfig) -> list[str]:
    """Name the changed settings of the input that have no effect."""
    changed = {item.flag for item in changed_in(config)}
    return [
        f"{flag} has no effect: {reason}"
        for flag, (is_idle, reason) in idle_settings(config).items()
        if flag in changed and is_idle
    ]
