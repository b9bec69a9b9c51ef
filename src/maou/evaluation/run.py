"""The composition root of `maou evaluate`: a saved network against game records."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from maou.checkpoint.folders import STATE
from maou.checkpoint.load import load_checkpoint
from maou.data.batch import PlayedBatch, PositionBatch
from maou.data.config import DataConfig
from maou.data.pipeline import all_rows, in_order, open_data, split_sides
from maou.data.rows import SideRows
from maou.errors import CheckpointError, ConfigError
from maou.evaluation.config import EvaluateConfig
from maou.export.interface import SETTINGS_KEY
from maou.export.runtime import OnnxModel
from maou.losses.config import LossConfig
from maou.losses.total import Targets
from maou.model.network import Outputs
from maou.reading import json_object
from maou.sources.local import PlayedShards
from maou.text import shortened
from maou.train.device import Compute, resolve_compute
from maou.train.metrics import MetricSums, PolicyValueMetrics

Predict = Callable[[PositionBatch], Outputs]


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        model: the checkpoint folder or ONNX file.
        step: training step of the network; None where the file does not say.
        rows: which rows were measured, in words.
        metrics: the result.
    """

    model: Path
    step: int | None
    rows: str
    metrics: PolicyValueMetrics

    def to_json(self) -> dict[str, Any]:
        """Give the evaluation as a JSON object."""
        return {
            "model": str(self.model),
            "step": self.step,
            "rows": self.rows,
            "metrics": asdict(self.metrics),
        }


@dataclass(frozen=True)
class _Model:
    predict: Predict
    step: int | None
    loss: LossConfig
    data: DataConfig


def evaluate(
    config: EvaluateConfig, note: Callable[[str], None] = lambda _: None
) -> Evaluation:
    """Measure a checkpoint or an ONNX model on shards.

    Args:
        config: the model and the rows.
        note: called with lines about the progress of a fetch.

    Raises:
        CheckpointError: the model cannot be used.
        DataError: the shards cannot be read.
        RemoteError: the shards cannot be fetched.
    """
    if config.model.is_dir():
        model = _checkpoint(config)
    elif config.model.exists():
        model = _onnx(config)
    else:
        raise CheckpointError(f"--model {config.model}: no such file or folder")
    shards = open_data(config, note)
    if shards.origin:
        note(shards.origin)
    sums = MetricSums(model.loss, "cpu")
    with shards.naming():
        side, which = _choose_rows(shards, config, model.data)
        for batch in in_order(side, config.batch_size).batches(0):
            assert isinstance(batch, PlayedBatch)
            outputs = model.predict(batch)
            sums.update(outputs, Targets(batch.policy_target(), batch.value_B))
    return Evaluation(config.model, model.step, which, sums.result())


def _checkpoint(config: EvaluateConfig) -> _Model:
    compute = resolve_compute(config.gpu)
    loaded = load_checkpoint(config.model)
    network = loaded.network.to(compute.device)
    with _said_by(loaded.folder / STATE):
        settings = loaded.state["settings"]
        return _Model(
            predict=lambda batch: _forward(network, batch, compute),
            step=int(loaded.state["step"]),
            loss=LossConfig(**settings["loss"]),
            data=DataConfig(**settings["data"]),
        )


@contextlib.contextmanager
def _said_by(path: Path) -> Iterator[None]:
    """Turn what is wrong with a model's own settings into one message.

    Raises:
        CheckpointError: they are not such settings.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        text = str(error) if isinstance(error, ConfigError) else repr(error)
        raise CheckpointError(
            f"{path}: the settings that it was trained with cannot be read: "
            f"{shortened(text)}"
        ) from error


@torch.no_grad()
def _forward(
    network: torch.nn.Module, batch: PositionBatch, compute: Compute
) -> Outputs:
    there = batch.to(compute.device)
    with compute.forward_context():
        policy, value = network(there.board_BS, there.hand_BH)
    return Outputs(policy.cpu(), value.cpu())


def _onnx(config: EvaluateConfig) -> _Model:
    if config.gpu not in {None, "cpu"}:
        raise ConfigError(
            f"--gpu {config.gpu}: ONNX models are evaluated on the CPU; leave the flag "
            "out, or name a checkpoint"
        )
    model = OnnxModel(config.model)
    with _said_by(config.model):
        settings = json_object(model.metadata.get(SETTINGS_KEY, "{}"))
        step = model.metadata.get("training.step")
        return _Model(
            predict=lambda batch: model.predict(batch.board_BS, batch.hand_BH),
            step=None if step is None else int(step),
            loss=LossConfig(**settings.get("loss", {})),
            data=DataConfig(**settings.get("data", {})),
        )


def _choose_rows(
    shards: PlayedShards, config: EvaluateConfig, trained_with: DataConfig
) -> tuple[SideRows, str]:
    if config.split == "all":
        side = all_rows(shards)
        return side, f"all {side.count:,} positions"
    training, validation = split_sides(
        shards,
        trained_with.test_ratio if config.test_ratio is None else config.test_ratio,
        trained_with.seed if config.seed is None else config.seed,
    )
    side = validation if config.split == "validation" else training
    return side, f"the {side.count:,} {config.split} positions"
