"""Stages made ready: their data opened and split, their networks built.

All that can be wrong with a run before its first step is found here. Training them is
the composition root's (`run`), measuring them the instruments'.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from maou.checkpoint.folders import STATE
from maou.checkpoint.load import read_tensors, require_sizes
from maou.checkpoint.resume import ResumePoint, restore
from maou.checkpoint.save import MODEL
from maou.checkpoint.warm_start import warm_start
from maou.data.arrival import fetch_in_order
from maou.data.pipeline import TrainingData
from maou.errors import CheckpointError
from maou.logs.report import DryRun, Plan
from maou.model.freezing import freeze
from maou.model.network import BackboneNetwork
from maou.optim.optimizer import build_optimizer
from maou.plan import make_plan
from maou.stages import Stage
from maou.train.device import Compute
from maou.train.interrupts import Interrupts
from maou.train.loop import BEFORE_ROWS, Trainer
from maou.train.memory import in_parts
from maou.train.state import TrainState
from maou.train.step import accumulate_gradients


@dataclass(frozen=True)
class Prepared:
    """A stage with everything it needs, before its first step."""

    stage: Stage
    data: TrainingData
    network: BackboneNetwork
    trainer: Trainer

    def state(self, resume: ResumePoint | None = None) -> TrainState:
        """Begin: the network and a fresh optimiser; or as a checkpoint has them.

        Raises:
            CheckpointError: it does not fit, or contradicts itself.
        """
        parameters = self.network.named_parameters()
        optimizer = build_optimizer(parameters, self.stage.optim)
        scaler = self.trainer.compute.scaler()
        state = TrainState(self.network, optimizer, scaler=scaler)
        if resume is not None and resume.folder is not None:
            restore(state, resume.folder, self.trainer.task.metrics)
            try:
                self.trainer.take_place(state, same_data=self.has_data_of(resume))
            except CheckpointError as error:
                raise CheckpointError(f"{resume.folder / STATE}: {error}") from error
        return state

    def has_data_of(self, resume: ResumePoint) -> bool:
        """Tell whether the data is what a run began with."""
        return self.data.shards.fingerprint() == resume.fingerprint

    def needed_best(self, state: TrainState) -> frozenset[str]:
        """Give the criteria by which there has to be a best epoch already."""
        complete = self.trainer.is_complete(state)  # then no epoch follows
        return frozenset(self.trainer.task.best_by if complete else ())

    def plan(self) -> Plan:
        """Work out what the user should know before the first step."""
        with self.data.shards.naming():
            return make_plan(self.stage, self.data, self.trainer, self.network)

    def try_one_batch(self, resume: ResumePoint | None = None) -> DryRun:
        """Take one real batch through the network and back; nothing is learned.

        Args:
            resume: where to go on from; the batch is the next one there.

        Raises:
            CheckpointError: as `state` does.
        """
        trainer, state = self.trainer, self.state(resume)
        epoch = max(state.epoch, trainer.train.start_epoch)
        begin = time.perf_counter()
        with self.data.shards.naming():
            batch = next(
                itertools.chain(
                    trainer.training.batches(epoch, state.batches),
                    trainer.training.batches(epoch + 1),  # where this one is over
                )
            )
        state.network.train()
        sums = accumulate_gradients(
            state.network,
            in_parts([batch], state.micro_batch),
            trainer.task,
            trainer.compute,
        )
        gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        loss = float(sums.sums[0]) / sums.rows
        return DryRun(sums.rows, loss, norm, time.perf_counter() - begin)


def prepare_stages(
    stages: Sequence[Stage],
    compute: Compute,
    *,
    begun: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
    interrupts: Interrupts | None = None,
    early: bool = False,
) -> list[Prepared]:
    """Open and split the data of some stages, and build their networks.

    Args:
        stages: the stages, in order.
        compute: where they run.
        begun: the checkpoint that will bring the first one's parameters.
        tell: called with lines about the progress of a fetch.
        interrupts: what signals do while training; nothing where nobody listens.
        early: whether to return before all is fetched, where training can begin then.

    Raises:
        ConfigError, CheckpointError, DataError, RemoteError: as `learn` does.
    """
    prepared = []
    for stage in stages:
        config = stage.config
        shards = stage.open(tell, early=early)
        with shards.naming():
            data = stage.prepare(shards)
        first = stage is stages[0]
        if first and begun is not None:
            tensors = read_tensors(begun / MODEL)
            require_sizes(begun, config.model, stage.build, tensors)
        # The same seed for every stage: a head starts alike with and without stages.
        torch.manual_seed(config.data.seed)
        network = stage.build()
        if not first or begun is None:
            warm_start(network, config.warm_start, backbone=first)
        if stage.number == 3:
            freeze(network, config.freeze)
        network.to(compute.device)
        trainer = Trainer(
            training=data.train_loader,
            validation=data.validation_batches,
            batch_size=stage.data.batch_size,
            task=stage.task(),
            train=stage.train,
            optim=stage.optim,
            compute=compute,
            goal=stage.goal,
            interrupts=interrupts or Interrupts(),
        )
        prepared.append(Prepared(stage, data, network, trainer))
    return prepared


def fetch_as_needed(waiting: Sequence[Prepared], resume: ResumePoint | None) -> None:
    """Have shards that are still in a store fetched in the order of their use."""
    for prepared in waiting:
        begun, measured = (prepared.trainer.train.start_epoch, 0), BEFORE_ROWS
        if resume is not None and resume.folder is not None and prepared is waiting[0]:
            begun, measured = (resume.epoch, resume.batches), 0
        fetch_in_order(prepared.data, prepared.stage.data, begun, measured)
