"""The plan of a run: every derived quantity, told once before the first step."""

from maou.checking.run import quick_check
from maou.checkpoint.warm_start import sources_of
from maou.checks import changed_settings, warnings_for
from maou.config import RunConfig
from maou.data.overlap import count_known_positions
from maou.data.pipeline import TrainingData, holds_preprocess
from maou.logs.report import Plan
from maou.model.freezing import part_sizes
from maou.model.network import Network
from maou.optim.schedule import warmup_steps
from maou.train.device import Compute
from maou.train.loop import Trainer


def make_plan(
    config: RunConfig, data: TrainingData, trainer: Trainer, network: Network
) -> Plan:
    """Work out what the user should know before the first step."""
    held_out = data.validation.count / data.shards.rows
    overlap = count_known_positions(data.training, data.validation)
    sampled = "" if overlap.looked_at == data.validation.count else "about "
    known = overlap.known / max(1, overlap.looked_at)
    effective = config.data.batch_size * config.train.gradient_accumulation_steps
    parameters = {
        name: sum(p.numel() for p in part.parameters())
        for name, part in network.named_children()
    }
    warmup = ""
    if config.optim.lr_scheduler.startswith("Warmup"):
        warmup = f", {warmup_steps(trainer.total_steps):,} of them warm-up"
    training = f"{data.training.count:,} positions in {len(trainer.training):,} batches"
    validation = (
        f"{data.validation.count:,} positions ({held_out:.1%}, split by "
        f"{data.split.unit}); {sampled}{known:.1%} of them also occur in training"
    )
    steps = (
        f"{trainer.total_steps:,} in {config.train.epochs} epochs of "
        f"{trainer.steps_per_epoch:,}{warmup}"
    )
    sizes = ", ".join(f"{name} {count:,}" for name, count in parameters.items())
    facts = {
        "data": _describe_data(data),
        "training": training,
        "validation": validation,
        "steps": steps,
        "batch": f"{effective:,} positions a step",
        "network": (
            f"{config.model.model_architecture}, {sum(parameters.values()):,} "
            f"parameters ({sizes})"
        ),
        **_freezing(network),
        **_warm_start(config),
        "device": f"{trainer.compute.describe()}, {trainer.compute.precision}",
        "seed": str(config.data.seed),
        "data fingerprint": data.shards.fingerprint(),
    }
    return Plan(
        facts, changed_settings(config), _warnings(config, data, trainer.compute)
    )


def _freezing(network: Network) -> dict[str, str]:
    """Say what is trained and what is frozen; nothing where all is trained."""
    sizes = part_sizes(network)
    if all(size.trainable for size in sizes):
        return {}
    facts = {}
    for title, trainable in (("trained", True), ("frozen", False)):
        parts = [size for size in sizes if size.trainable is trainable]
        total = sum(size.parameters for size in parts)
        named = ", ".join(f"{size.name} {size.parameters:,}" for size in parts)
        facts[title] = f"{total:,} parameters ({named})"
    return facts


def _warm_start(config: RunConfig) -> dict[str, str]:
    sources = sources_of(config.warm_start)
    named = ", ".join(f"{part} of {path}" for part, (_, path) in sources.items())
    return {"warm start": named} if named else {}


def _describe_data(data: TrainingData) -> str:
    shards = data.shards
    count = len(shards.shards)
    mode = "streamed in a window" if data.streaming else "held in memory"
    text = f"{shards.rows:,} positions in {count} shard{'s' * (count != 1)}, {mode}"
    if shards.ignored:
        names = ", ".join(path.name for path in shards.ignored[:3])
        more = ", ..." if len(shards.ignored) > 3 else ""
        text += f" (other files, left alone: {names}{more})"
    return text


def _warnings(
    config: RunConfig, data: TrainingData, compute: Compute
) -> tuple[str, ...]:
    warnings = warnings_for(
        config, streaming=data.streaming, on_cuda=compute.device.type == "cuda"
    )
    if data.split.warning:
        warnings.append(data.split.warning)
    if not holds_preprocess(data.shards):
        warnings += quick_check(data.shards.shards)
    return tuple(warnings)
