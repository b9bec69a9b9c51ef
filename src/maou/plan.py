"""The plan of a run: every derived quantity, told once before the first step."""

from maou.checking.run import quick_check
from maou.checkpoint.warm_start import sources_of
from maou.checks import changed_settings, warnings_for
from maou.data.overlap import count_known_positions
from maou.data.pipeline import TrainingData, holds_games
from maou.logs.report import Plan
from maou.model.freezing import part_sizes
from maou.model.network import BackboneNetwork
from maou.optim.schedule import warmup_steps
from maou.publish.config import PublishConfig
from maou.stages import Stage
from maou.train.loop import Trainer

FEW_STEPS = 100
"""Below so many steps, a stage with a threshold has hardly begun."""


def make_plan(
    stage: Stage, data: TrainingData, trainer: Trainer, network: BackboneNetwork
) -> Plan:
    """Work out what the user should know before the first step."""
    config = stage.config
    effective = stage.data.batch_size * stage.train.gradient_accumulation_steps
    training = f"{data.training.count:,} positions in {len(trainer.training):,} batches"
    facts = {
        **({"source": data.shards.origin} if data.shards.origin else {}),
        "data": _describe_data(data),
        "training": training,
        "validation": _describe_validation(data),
        "steps": _describe_steps(stage, trainer),
        **_goal(stage),
        "batch": f"{effective:,} positions a step",
        "network": (
            f"{config.model.model_architecture}, "
            f"{sum(p.numel() for p in network.parameters()):,} parameters"
        ),
        **_parameters(network),
        **_warm_start(stage, network),
        "device": f"{trainer.compute.describe()}, {trainer.compute.precision}",
        "checkpoints": f"every {config.checkpoint.checkpoint_interval} and each epoch",
        **_uploads(config.publish),
        "seed": str(config.data.seed),
        "data fingerprint": data.shards.fingerprint(),
    }
    return Plan(
        stage.title,
        facts,
        changed_settings(config),
        _warnings(stage, data, trainer),
    )


def _describe_validation(data: TrainingData) -> str:
    if data.training is data.validation:
        return "none held out: measured on all positions"
    held_out = data.validation.count / data.shards.rows
    text = f"{data.validation.count:,} positions ({held_out:.1%}, split by "
    text += f"{data.split.unit}); "
    arriving = data.shards.arriving
    if arriving is not None and arriving.missing:
        return text + "how many also occur in training nobody knows before all is there"
    overlap = count_known_positions(data.training, data.validation)
    sampled = "" if overlap.looked_at == data.validation.count else "about "
    known = overlap.known / max(1, overlap.looked_at)
    return f"{text}{sampled}{known:.1%} of them also occur in training"


def _describe_steps(stage: Stage, trainer: Trainer) -> str:
    warmup = ""
    if stage.optim.lr_scheduler.startswith("Warmup"):
        warmup = f", {warmup_steps(trainer.total_steps):,} of them warm-up"
    at_most = "at most " if stage.goal else ""
    return (
        f"{at_most}{trainer.total_steps:,} in {stage.train.epochs} epochs of "
        f"{trainer.steps_per_epoch:,}{warmup}; learning rate "
        f"{stage.optim.learning_rate:g}, {stage.optim.lr_scheduler}"
    )


def _goal(stage: Stage) -> dict[str, str]:
    if stage.goal is None:
        return {}
    name = stage.goal.metric.replace("_", " ")
    return {"complete at": f"{name} {stage.goal.threshold:g}"}


def _uploads(publish: PublishConfig) -> dict[str, str]:
    if publish.provider is None:
        return {}
    place = f"{publish.provider}://{publish.bucket_name}/{publish.base_path}"
    return {"uploads": f"to {place}, in the background"}


def _parameters(network: BackboneNetwork) -> dict[str, str]:
    """Say which groups of parameters are trained, and which are frozen."""
    facts = {}
    sizes = part_sizes(network)
    for title, trainable in (("trained", True), ("frozen", False)):
        parts = [size for size in sizes if size.trainable is trainable]
        if parts:
            total = sum(size.parameters for size in parts)
            named = ", ".join(f"{size.name} {size.parameters:,}" for size in parts)
            facts[title] = f"{total:,} parameters ({named})"
    return facts


def _warm_start(stage: Stage, network: BackboneNetwork) -> dict[str, str]:
    """Say where the first parameters come from, unless they are drawn at random."""
    parts = {
        part: str(path)
        for part, (_, path) in sources_of(stage.config.warm_start).items()
        if part in ("backbone", *network.heads)
    }
    if stage.number > 1 and stage.config.stages.stage == "all":
        parts["backbone"] = f"stage {stage.number - 1}"
    named = ", ".join(f"{part} of {source}" for part, source in parts.items())
    return {"warm start": named} if named else {}


def _describe_data(data: TrainingData) -> str:
    shards = data.shards
    count = len(shards.shards)
    mode = "streamed in a window" if data.streaming else "held in memory"
    text = f"{shards.rows:,} positions in {count} shard{'s' * (count != 1)}, {mode}"
    if data.train_loader.caching:
        text += f"; {data.train_loader.caching}"
    if shards.ignored:
        names = ", ".join(path.name for path in shards.ignored[:3])
        more = ", ..." if len(shards.ignored) > 3 else ""
        text += f" (other files, left alone: {names}{more})"
    return text


def _warnings(stage: Stage, data: TrainingData, trainer: Trainer) -> tuple[str, ...]:
    config, on_cuda = stage.config, trainer.compute.device.type == "cuda"
    warnings = warnings_for(config, streaming=data.streaming, on_cuda=on_cuda)
    if stage.goal is not None and trainer.total_steps < FEW_STEPS:
        warnings.append(
            f"stage {stage.number} makes {trainer.total_steps} optimiser steps, too "
            f"few to learn from: give a smaller --stage{stage.number}-batch-size "
            f"or more --stage{stage.number}-max-epochs"
        )
    if data.split.warning:
        warnings.append(data.split.warning)
    if holds_games(data.shards):
        warnings += quick_check(data.shards.shards)
    return tuple(map(data.shards.shown, warnings))
