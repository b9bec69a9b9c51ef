"""The configuration of a training run: the packages' settings together."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from maou.checkpoint.config import CheckpointConfig, WarmStartConfig
from maou.data.config import DataConfig
from maou.errors import ConfigError
from maou.export.config import ExportConfig
from maou.logs.config import LogConfig
from maou.losses.config import LossConfig, StageLossConfig
from maou.model.config import FreezeConfig, LegalMovesHeadConfig, ModelConfig
from maou.optim.config import OptimConfig
from maou.publish.config import PublishConfig
from maou.settings import Settings, setting, settings_of
from maou.sources.config import SourceConfig, StageSourceConfig
from maou.train.config import StageConfig, TrainConfig

START = "Start"


@dataclass(frozen=True)
class RunConfig:
    """Everything that `maou learn-model` can be told, by package."""

    source: SourceConfig = field(default_factory=SourceConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    stages: StageConfig = field(default_factory=StageConfig)
    stage_source: StageSourceConfig = field(default_factory=StageSourceConfig)
    stage_head: LegalMovesHeadConfig = field(default_factory=LegalMovesHeadConfig)
    stage_loss: StageLossConfig = field(default_factory=StageLossConfig)
    freeze: FreezeConfig = field(default_factory=FreezeConfig)
    warm_start: WarmStartConfig = field(default_factory=WarmStartConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    logs: LogConfig = field(default_factory=LogConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)

    @property
    def is_staged(self) -> bool:
        """Whether the run has stages: --stage or a stage's data path was given."""
        paths = astuple(self.stage_source)
        return self.stages.stage is not None or any(path is not None for path in paths)

    def runs_stage(self, number: int) -> bool:
        """Tell whether a stage is part of the run; without stages, stage 3 is."""
        return (self.stages.stage or "3") in (str(number), "all")


RUN_SETTINGS: dict[str, type[Settings]] = {
    "source": SourceConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "model": ModelConfig,
    "stages": StageConfig,
    "stage_source": StageSourceConfig,
    "stage_head": LegalMovesHeadConfig,
    "stage_loss": StageLossConfig,
    "freeze": FreezeConfig,
    "warm_start": WarmStartConfig,
    "loss": LossConfig,
    "optim": OptimConfig,
    "checkpoint": CheckpointConfig,
    "export": ExportConfig,
    "logs": LogConfig,
    "publish": PublishConfig,
}
"""The field of `RunConfig` that holds each package's settings."""


def settings_from_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings in a checkpoint's record, by field name.

    Args:
        record: holds what `as_plain` made of a `RunConfig`; what this version does not
            know is left out.
    """
    values = {}
    for package, cls in RUN_SETTINGS.items():
        entries = record.get(package)
        if not isinstance(entries, Mapping):
            continue
        for bound in settings_of(cls):
            value = entries.get(bound.name)
            if value is not None:
                values[bound.name] = tuple(value) if isinstance(value, list) else value
    return values


def run_config_from_record(record: Mapping[str, Any]) -> RunConfig:
    """Make the configuration that a checkpoint's record tells of.

    Raises:
        ConfigError: a value is not allowed any more.
    """
    values = settings_from_record(record)
    parts: dict[str, Any] = {
        package: cls(
            **{
                bound.name: values[bound.name]
                for bound in settings_of(cls)
                if bound.name in values
            }
        )
        for package, cls in RUN_SETTINGS.items()
    }
    return RunConfig(**parts)


def names_only(record: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce each local path in a record to its last name, for other eyes.

    Args:
        record: holds what `as_plain` made of a `RunConfig`.
    """
    plain = dict(record)
    for package, cls in RUN_SETTINGS.items():
        values = record.get(package, {})
        short = {name: _name(values[name]) for name in _paths(cls, values)}
        if short:
            plain[package] = {**values, **short}
    return plain


def with_names_only(config: RunConfig) -> RunConfig:
    """Reduce each local path of a configuration to its last name, for other eyes."""
    parts = {}
    for package, cls in RUN_SETTINGS.items():
        part = getattr(config, package)
        short = {name: _name(vars(part)[name]) for name in _paths(cls, vars(part))}
        parts[package] = replace(part, **short)
    return RunConfig(**parts)


def _paths(cls: type[Settings], values: Mapping[str, Any]) -> list[str]:
    return [
        bound.name
        for bound in settings_of(cls)
        if bound.kind is Path and values.get(bound.name) is not None
    ]


def _name(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_name(item) for item in value)
    return type(value)(Path(value).name)


_NAMES_A_SOURCE = frozenset(
    (
        *("input_path", "stage3_data_path", "input_gcs", "input_s3"),
        *("input_dataset_id", "input_table_name"),
    )
)
_OF_A_STORE = frozenset(
    (
        *("input_bucket_name", "input_prefix", "input_data_name"),
        *("input_local_cache_dir", "input_local_cache"),
        *("input_max_cached_bytes", "input_max_workers"),
    )
)


def without_replaced_source(
    saved: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Leave a saved source of stage 3 out where the command line names another one.

    A source is replaced as a whole: its kind, its names, and the cache of a store that
    is no longer read.

    Args:
        saved, given: settings by field name; those given go before the saved ones.
    """
    named = {name for name in _NAMES_A_SOURCE if given.get(name)}
    before = {name for name in _NAMES_A_SOURCE if saved.get(name)}
    if not named or named == before:
        return dict(saved)
    gone = _NAMES_A_SOURCE | _OF_A_STORE
    return {name: value for name, value in saved.items() if name not in gone}


@dataclass(frozen=True)
class StartConfig(Settings):
    """How a run is started; not part of what it computes."""

    config: Path | None = setting(
        None,
        "Read settings from this TOML file, such as the run.toml of an earlier run; "
        "flags on the command line go before it.",
        START,
        metavar="FILE",
    )
    resume_from: str | None = setting(
        None,
        "Go on with a run where a checkpoint left it, in its folders and with its "
        "settings: a checkpoint's folder, a run's folder (its newest checkpoint), or "
        "latest, the newest in --model-dir.",
        START,
        metavar="PATH",
    )
    allow_changed_data: bool = setting(
        False,
        "Let --resume-from go on although the data is not what the run began with.",
        START,
    )
    dry_run: bool = setting(
        False,
        "Check everything, print the plan, take one real batch through the network "
        "and back, and stop without writing anything.",
        START,
    )

    def check(self) -> None:
        """Check that settings have one origin.

        Raises:
            ConfigError: they would come from two files, or there is no data that
                could have changed.
        """
        if self.allow_changed_data and self.resume_from is None:
            raise ConfigError(
                "--allow-changed-data needs --resume-from: a new run takes any data"
            )
        if self.config is not None and self.resume_from is not None:
            raise ConfigError(
                "--config and --resume-from both bring a run's settings; give one of "
                "them"
            )
