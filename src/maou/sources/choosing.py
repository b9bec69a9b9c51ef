"""Which source an input names: exactly one, with all of its partners.

The rules are here for every command that reads; how each command's settings extend
`InputConfig` does not matter to them.
"""

from collections.abc import Sequence

from maou.errors import ConfigError
from maou.settings import changed_flag, changed_in, settings_of
from maou.sources.config import BIGQUERY, CLOUD, InputConfig, RecordInputConfig

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
        raise ConfigError(f"{given[0]} also needs {', '.join(missing)}")
    if isinstance(config, RecordInputConfig):
        _check_paging(config)
    return bool(given)


def _check_paging(config: RecordInputConfig) -> None:
    """Check that there is one way to page a table.

    Raises:
        ConfigError: there are two.
    """
    if None not in (config.input_clustering_key, config.input_partitioning_key_date):
        raise ConfigError(
            "--input-clustering-key and --input-partitioning-key-date both say how to "
            "page the table; give one of them"
        )


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
            f"{_stores(config)}"
        )


def _stores(config: InputConfig) -> str:
    """List the flags that name a cloud store."""
    if isinstance(config, RecordInputConfig):
        return "--input-gcs, --input-s3 or --input-dataset-id"
    return "--input-gcs or --input-s3"


def idle_settings(config: InputConfig) -> Idle:
    """Tell for each flag of a cloud source whether it is idle, and why."""
    none = config.provider is None
    without = f"there is no cloud source ({_stores(config)})"
    idle = {
        changed_flag(bound): (none, without)
        for bound in settings_of(type(config))
        if bound.setting.group == CLOUD and bound.flag not in config.sources()
    }
    if not none and not config.input_local_cache:
        reason = "--no-input-local-cache keeps nothing"
        idle["--input-max-cached-bytes"] = (True, reason)
    if not isinstance(config, RecordInputConfig):
        return idle
    if not none and not config.input_enable_bundling:
        reason = "it needs --input-enable-bundling"
        idle["--input-bundle-size-gb"] = (True, reason)
    return {**idle, **_idle_with_tables(config)}


def _idle_with_tables(config: RecordInputConfig) -> Idle:
    """Tell what has no effect without a table of BigQuery, or with one."""
    if config.provider != BIGQUERY:
        flags = ("batch-size", "clustering-key", "partitioning-key-date")
        reason = "there is no table (--input-dataset-id)"
        return {f"--input-{flag}": (True, reason) for flag in flags}
    others = ("bucket-name", "prefix", "data-name", "enable-bundling", "bundle-size-gb")
    reason = "the source is a table (--input-dataset-id)"
    idle = {f"--input-{flag}": (True, reason) for flag in others}
    if config.input_local_cache_dir is None:
        reason = "without --input-local-cache-dir nothing is kept"
        idle["--no-input-local-cache"] = (True, reason)
        idle["--input-max-cached-bytes"] = (True, reason)
    return idle


def warnings_for(config: InputConfig) -> list[str]:
    """Name the changed settings of the input that have no effect."""
    changed = {item.flag for item in changed_in(config)}
    return [
        f"{flag} has no effect: {reason}"
        for flag, (is_idle, reason) in idle_settings(config).items()
        if flag in changed and is_idle
    ]
