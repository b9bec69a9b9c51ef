"""The stages of a run: what each trains, on what, and which settings hold in it.

Stages 1 and 2 teach the backbone how pieces move and which moves are legal; stage 3 is
policy and value, the training that everything is for. Each is one entry of `STAGES`.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable

from maou.config import RunConfig
from maou.data.config import DataConfig
from maou.data.pipeline import (
    TrainingData,
    holds_stage,
    open_data,
    prepare_data,
    prepare_stage_data,
)
from maou.model.network import (
    BackboneNetwork,
    LegalMovesNetwork,
    Network,
    ReachableNetwork,
)
from maou.optim.config import CONSTANT, WARMUP_COSINE, OptimConfig
from maou.sources.config import PREPROCESS
from maou.sources.local import (
    AnyShards,
    open_preprocess_shards,
    open_stage_shards,
)
from maou.train.config import TrainConfig
from maou.train.loop import Goal
from maou.train.multi_label_task import MultiLabelTask
from maou.train.task import PolicyValueTask, Task

SCHEDULED_ABOVE = 256
"""`--stage12-lr-scheduler auto` keeps the rate fixed up to this batch size."""


class Stage(ABC):
    """One training within a run.

    Attributes:
        number: 1, 2 or 3.
        name: what it teaches.
        folder: its folder below the run's; empty for the run's own.
        data, train, optim: the settings that hold in it.
        goal: what completes it before its epochs are over; None for all epochs.
    """

    number: int
    name: str
    folder: str
    data: DataConfig
    train: TrainConfig
    optim: OptimConfig
    goal: Goal | None = None

    def __init__(self, config: RunConfig) -> None:
        """Take the settings of the run."""
        self.config = config

    @property
    def title(self) -> str:
        """Name the stage for messages; empty where the run has no stages."""
        staged = self.config.is_staged
        return f"Stage {self.number}: {self.name}" if staged else ""

    @abstractmethod
    def open(self, tell: Callable[[str], None], *, early: bool = False) -> AnyShards:
        """Open the shards, reading headers only; those in a cloud store are fetched.

        Args:
            tell: called with lines about the progress of a fetch.
            early: return before all is fetched, where training can begin then.

        Raises:
            DataError: nothing there, or a file holds something else.
            RemoteError: a store cannot be reached, refuses, or changes meanwhile.
        """

    @abstractmethod
    def prepare(self, shards: AnyShards) -> TrainingData:
        """Split the shards and make the loaders."""

    @abstractmethod
    def build(self) -> BackboneNetwork:
        """Build the network with fresh parameters, from torch's global generator."""

    @abstractmethod
    def task(self) -> Task:
        """Give the loss and the measurements."""


class _EarlyStage(Stage):
    """Stage 1 or 2: epochs until the goal, in the settings of its own.

    Early stopping and the epoch offset are stage 3's.
    """

    def __init__(self, config: RunConfig) -> None:
        """Resolve what is inherited from stage 3's settings."""
        super().__init__(config)
        own = config.stages
        epochs = (own.stage1_max_epochs, own.stage2_max_epochs)
        batch_sizes = (own.stage1_batch_size, own.stage2_batch_size)
        rates = (own.stage1_learning_rate, own.stage2_learning_rate)
        index = self.number - 1
        self.folder = f"stage{self.number}"
        self.flag = f"--stage{self.number}-data-path"
        self.data = dataclasses.replace(
            config.data, batch_size=batch_sizes[index] or config.data.batch_size
        )
        self.train = dataclasses.replace(
            config.train,
            epochs=epochs[index],
            start_epoch=0,
            early_stopping_patience=None,
            compilation=own.stage12_compilation,
        )
        schedule = own.stage12_lr_scheduler
        if schedule == "auto":
            large = self.data.batch_size > SCHEDULED_ABOVE
            schedule = WARMUP_COSINE if large else CONSTANT
        self.optim = dataclasses.replace(
            config.optim,
            learning_rate=rates[index] or config.optim.learning_rate,
            lr_scheduler=schedule,
        )

    def open(self, tell: Callable[[str], None], *, early: bool = False) -> AnyShards:
        """Open the shards of stage records."""
        sources = self.config.stage_source
        path = (sources.stage1_data_path, sources.stage2_data_path)[self.number - 1]
        assert path is not None, "checked before"
        return open_stage_shards(path, self.number, self.flag)

    def prepare(self, shards: AnyShards) -> TrainingData:
        """Make the loaders."""
        assert holds_stage(shards)
        return prepare_stage_data(shards, self.number, self.data)


class ReachableStage(_EarlyStage):
    """Stage 1."""

    number, name = 1, "reachable squares"

    def __init__(self, config: RunConfig) -> None:
        """Take the settings."""
        super().__init__(config)
        self.goal = Goal("element_accuracy", config.stages.stage1_threshold)

    def build(self) -> BackboneNetwork:
        """Build the network of 81 logits."""
        return ReachableNetwork(self.config.model)

    def task(self) -> Task:
        """Give the loss of the squares."""
        return MultiLabelTask(self.config.stage_loss.stage1, "element_accuracy")


class LegalMovesStage(_EarlyStage):
    """Stage 2."""

    number, name = 2, "legal moves"

    def __init__(self, config: RunConfig) -> None:
        """Take the settings."""
        super().__init__(config)
        self.goal = Goal("f1", config.stages.stage2_threshold)

    def build(self) -> BackboneNetwork:
        """Build the network of 1496 logits."""
        return LegalMovesNetwork(self.config.model, self.config.stage_head)

    def task(self) -> Task:
        """Give the loss of the moves."""
        return MultiLabelTask(self.config.stage_loss.stage2, "f1")


class PolicyValueStage(Stage):
    """Stage 3, and all that there is to a run without stages."""

    number, name, folder = 3, "policy and value", ""

    def __init__(self, config: RunConfig) -> None:
        """Take the settings."""
        super().__init__(config)
        self.data, self.train = config.data, config.train
        self.optim = config.optim

    def open(self, tell: Callable[[str], None], *, early: bool = False) -> AnyShards:
        """Open the shards; a staged run reads preprocess records only."""
        source = self.config.source
        path = self.config.stage_source.stage3_data_path
        if path is not None:
            return open_preprocess_shards(
                path, source.input_file_packed, "--stage3-data-path"
            )
        if self.config.is_staged:
            source = dataclasses.replace(source, input_format=PREPROCESS)
        # Map-style data is read as a whole before its first batch.
        early = early and self.data.streaming is not False
        return open_data(source, tell, early=early)

    def prepare(self, shards: AnyShards) -> TrainingData:
        """Split by game and make the loaders."""
        assert not holds_stage(shards)
        return prepare_data(shards, self.data, self.config.source.input_cache_mode)

    def build(self) -> BackboneNetwork:
        """Build the network of policy and value."""
        return Network(self.config.model)

    def task(self) -> Task:
        """Give the losses of policy and value."""
        return PolicyValueTask(self.config.loss)


STAGES: tuple[type[Stage], ...] = (ReachableStage, LegalMovesStage, PolicyValueStage)
"""The stages in the order in which they run."""


def stages_of(config: RunConfig) -> list[Stage]:
    """Give the stages of a run in order."""
    return [stage(config) for stage in STAGES if config.runs_stage(stage.number)]
