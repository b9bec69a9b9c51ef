"""Rules that span packages: settings that contradict each other, or cannot matter.

A contradiction is an error. A setting that was changed and would have no effect is
named in a warning, so that nobody waits for an effect that never comes.
"""

import shlex
from collections.abc import Iterator
from typing import Any

from maou.config import RUN_SETTINGS, RunConfig
from maou.errors import ConfigError
from maou.settings import BoundSetting, ChangedSetting, changed_in, settings_of
from maou.sources.choosing import check_choice, idle_settings
from maou.sources.config import HCPE, HCPE_SUFFIXES


def changed_settings(config: RunConfig) -> tuple[ChangedSetting, ...]:
    """Return the settings that differ from their defaults."""
    return tuple(
        item
        for package in RUN_SETTINGS
        for item in changed_in(getattr(config, package))
    )


def check_sources(config: RunConfig) -> None:
    """Check that every stage of a run has exactly one source of data.

    Raises:
        ConfigError: a stage has none, or stage 3 has two.
    """
    source, stages = config.source, config.stage_source
    others = ["--stage3-data-path"] if stages.stage3_data_path is not None else []
    what = "the data of stage 3" if config.is_staged else "the data"
    given = check_choice(source, what, others)
    for number, path in ((1, stages.stage1_data_path), (2, stages.stage2_data_path)):
        if config.runs_stage(number) and path is None:
            raise ConfigError(
                f"--stage {config.stages.stage} needs --stage{number}-data-path: "
                f"records that maou utility generate-stage{number}-data makes"
            )
    if not config.runs_stage(3) or given:
        return
    if config.is_staged:
        raise ConfigError(
            f"--stage {config.stages.stage or 3} needs --stage3-data-path (or "
            "--input-path): preprocess records that maou pre-process makes"
        )
    raise ConfigError(
        f"--input-path: is required; name a file or folder of shards ({HCPE_SUFFIXES})"
    )


_SAFE_TO_CHANGE = frozenset(
    (
        *("epochs", "stage1_max_epochs", "stage2_max_epochs"),
        *("stage1_threshold", "stage2_threshold"),
        *("early_stopping_patience", "early_stopping_metric"),
        *("input_path", "stage1_data_path", "stage2_data_path", "stage3_data_path"),
        *("input_gcs", "input_s3", "input_bucket_name", "input_prefix"),
        *("input_data_name", "input_local_cache_dir", "input_local_cache"),
        *("input_dataset_id", "input_table_name"),
        *("input_max_cached_bytes", "input_max_workers"),
        *("input_cache_mode", "cache_transforms", "loader_timeout", "gpu"),
        *("dataloader_workers", "prefetch_factor", "pin_memory", "detect_anomaly"),
        *("log_dir", "model_dir", "health_interval"),
        *("save_split_params", "checkpoint_interval", "keep", "export_onnx"),
        *("output_gcs", "gcs_bucket_name", "gcs_base_path"),
        *("output_s3", "s3_bucket_name", "s3_base_path", "upload_timeout"),
        *("tensorboard_histogram_frequency", "tensorboard_histogram_module"),
    )
)
"""Settings of a run that may change when it goes on: where things are, how long it
lasts, what is shown; but nothing that decides what a step computes."""


def check_resumed(saved: RunConfig, config: RunConfig) -> None:
    """Check that a run goes on with the settings that it began with.

    Raises:
        ConfigError: settings contradict; the message shows each with both values.
    """
    differing = [
        f"{bound.flag} {new} (the run has {old})"
        for bound, old, new in _differing(saved, config)
        if bound.name not in _SAFE_TO_CHANGE
    ]
    if differing:
        raise ConfigError(
            f"--resume-from: {'; '.join(differing)}. A run goes on with its own "
            "settings: leave these flags out, or start a new run with "
            "--resume-backbone-from and the head flags"
        )


def changed_flags(saved: RunConfig, config: RunConfig) -> str:
    """Give the flags that make one configuration of the other, for a command line."""
    words: list[str] = []
    for bound, _, new in _differing(saved, config):
        if bound.kind is bool:
            words.append(bound.flag if new else f"--no-{bound.flag.removeprefix('--')}")
        elif new is not None:
            for value in new if bound.multiple else (new,):
                words += [bound.flag, shlex.quote(str(value))]
    return " ".join(words)


def _differing(
    saved: RunConfig, config: RunConfig
) -> Iterator[tuple[BoundSetting, Any, Any]]:
    for package, cls in RUN_SETTINGS.items():
        for bound in settings_of(cls):
            old = getattr(getattr(saved, package), bound.name)
            new = getattr(getattr(config, package), bound.name)
            if old != new:
                yield bound, old, new


def warnings_for(config: RunConfig, *, streaming: bool, on_cuda: bool) -> list[str]:
    """Name the changed settings that have no effect in this run.

    Args:
        config: the run's settings.
        streaming: whether training reads a window instead of all rows.
        on_cuda: whether the run uses a CUDA device.
    """
    settings = changed_settings(config)
    hcpe = config.source.input_format == HCPE and not config.is_staged
    cannot_cache = ""
    if config.data.cache_transforms:
        cannot_cache = config.data.cannot_cache(streaming=streaming, hcpe=hcpe)
    changed = {item.flag for item in settings}
    idle = {
        "--prefetch-factor": (
            config.data.dataloader_workers == 0,
            "there are no workers (--dataloader-workers 0)",
        ),
        "--shuffle-rows": (not streaming, "map-style data is shuffled as a whole"),
        "--input-cache-mode": (
            streaming and config.source.input_cache_mode == "memory",
            "streaming holds a window of rows (use --no-streaming)",
        ),
        "--input-file-packed": (
            hcpe,
            "only preprocess records can be packed",
        ),
        **idle_settings(config.source),
        **config.publish.idle(),
        "--pin-memory": (not on_cuda, "the device is not a CUDA device"),
        "--momentum": (config.optim.optimizer != "sgd", "only sgd uses it"),
        "--optimizer-beta1": (config.optim.optimizer != "adamw", "only adamw uses it"),
        "--optimizer-beta2": (config.optim.optimizer != "adamw", "only adamw uses it"),
        "--optimizer-eps": (config.optim.optimizer != "adamw", "only adamw uses it"),
        "--early-stopping-metric": (
            config.train.early_stopping_patience is None,
            "it needs --early-stopping-patience",
        ),
        "--tensorboard-histogram-module": (
            config.logs.tensorboard_histogram_frequency == 0,
            "it needs --tensorboard-histogram-frequency",
        ),
        "--cache-transforms": (bool(cannot_cache), cannot_cache),
    }
    warnings = [
        f"{flag} has no effect: {reason}"
        for flag, (is_idle, reason) in idle.items()
        if flag in changed and is_idle
    ]
    others = config.model.sizes_of_others()
    warnings += [
        f"{item.flag} has no effect: --model-architecture is "
        f"{config.model.model_architecture}"
        for item in settings
        if item.name in others
    ]
    warnings += _of_other_stages(config, settings)
    if _is_random_and_frozen(config):
        warnings.append(
            "the frozen part of the backbone keeps random parameters: name a trained "
            "one with --resume-backbone-from"
        )
    if config.source.input_cache_mode == "mmap":
        warnings.append("--input-cache-mode mmap is deprecated; it now means file")
    return warnings


def _is_random_and_frozen(config: RunConfig) -> bool:
    return (
        config.freeze.trainable_groups is not None
        and config.stages.stage in (None, "3")  # only stage 3 freezes
        and config.warm_start.resume_backbone_from is None
    )


_STAGE_3_ONLY = frozenset(
    (
        *("input_path", "input_format", "input_file_packed", "input_cache_mode"),
        *("input_gcs", "input_s3", "input_dataset_id", "input_table_name"),
        *("test_ratio", "epochs", "start_epoch", "compilation", "lr_scheduler"),
        *("early_stopping_patience", "early_stopping_metric"),
        *("freeze_backbone", "trainable_layers", "gce_parameter"),
        *("policy_loss_ratio", "value_loss_ratio"),
        *("resume_policy_head_from", "resume_value_head_from", "export_onnx"),
    )
)
"""Settings that stages 1 and 2 do not read, beside those with stage3 in their name."""


def _of_other_stages(
    config: RunConfig, settings: tuple[ChangedSetting, ...]
) -> list[str]:
    """Name the changed settings of stages that do not run."""
    shown = f"--stage {config.stages.stage or 3}"
    own = {
        "stage1": (1,),
        "stage2": (2,),
        "stage12": (1, 2),
        "stage3": (3,),
        "resume_reachable": (1,),
        "resume_legal": (2,),
    }
    warnings = []
    for item in settings:
        prefix = next((p for p in own if item.name.startswith(f"{p}_")), None)
        numbers = own[prefix] if prefix else (1, 2, 3)
        if item.name in _STAGE_3_ONLY:
            numbers = (3,)
        if not any(config.runs_stage(number) for number in numbers):
            named = " and ".join(str(number) for number in numbers)
            warnings.append(
                f"{item.flag} has no effect: {shown} does not run stage {named}"
            )
    return warnings
