"""Rules that span packages: settings that cannot matter in the chosen mode.

A setting that was changed and would have no effect is named in a warning, so that
nobody waits for an effect that never comes.
"""

from maou.config import RUN_SETTINGS, RunConfig
from maou.settings import BoundSetting, ChangedSetting, settings_of


def changed_settings(config: RunConfig) -> tuple[ChangedSetting, ...]:
    """Return the settings that differ from their defaults."""
    changed = []
    for package, cls in RUN_SETTINGS.items():
        for bound in settings_of(cls):
            value = getattr(getattr(config, package), bound.name)
            if bound.required or value != bound.default:
                flag = _shown_flag(bound, value)
                changed.append(ChangedSetting(bound.name, flag, value))
    return tuple(changed)


def _shown_flag(bound: BoundSetting, value: object) -> str:
    if bound.kind is bool and value is False:
        return "--no-" + bound.flag.removeprefix("--")
    return bound.flag


def warnings_for(config: RunConfig, *, streaming: bool, on_cuda: bool) -> list[str]:
    """Name the changed settings that have no effect in this run.

    Args:
        config: the run's settings.
        streaming: whether training reads a window instead of all rows.
        on_cuda: whether the run uses a CUDA device.
    """
    settings = changed_settings(config)
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
            config.source.input_format != "preprocess",
            "only preprocess records can be packed",
        ),
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
        and config.warm_start.resume_backbone_from is None
    )
