"""A loader, a schedule or a progress line that says something else than is done."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from maou.checkpoint.config import CheckpointConfig
from maou.checkpoint.hook import CheckpointHook
from maou.checkpoint.resume import find_resume_point, restore
from maou.config import RunConfig
from maou.data.config import DataConfig
from maou.data.loader import BatchSource
from maou.errors import BugError, CheckpointError
from maou.logs.health import HealthHook
from maou.model.config import ModelConfig
from maou.prepared import Prepared, prepare_stages
from maou.settings import as_plain
from maou.sources.config import SourceConfig
from maou.stages import stages_of
from maou.train.config import TrainConfig
from maou.train.device import resolve_compute
from maou.train.task import PolicyValueTask


@dataclasses.dataclass
class Lying:
    """A real loader whose length or batches are wrong.

    Attributes:
        says: batches more than there are.
        gives: batches that it leaves out at the end; below 0, gives twice.
        after: epochs in which it is honest.
    """

    source: BatchSource
    says: int = 0
    omits: int = 0
    after: int = 0
    epoch: int = 0

    def __len__(self) -> int:
        wrong = self.says if self.epoch >= self.after else 0
        return len(self.source) + wrong

    def batches(self, epoch: int, start: int = 0) -> Iterator:
        self.epoch = epoch
        batches = list(self.source.batches(epoch, start))
        if self.epoch < self.after:
            return iter(batches)
        if self.omits < 0:
            return itertools.chain(batches, batches[self.omits :])
        return iter(batches[: len(batches) - self.omits])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, selfplay_rows) -> Prepared:
    """Two epochs of five batches, two a step."""
    path: Path = tmp_path_factory.mktemp("shards")
    for number in range(3):
        rows = selfplay_rows[9000 * number : 9000 * number + 100]
        (path / f"{number}.hcpe").write_bytes(rows.tobytes())
    config = RunConfig(
        source=SourceConfig(input_path=path),
        data=DataConfig(batch_size=40),
        model=ModelConfig(resnet_blocks=1, resnet_channels=4),
        train=TrainConfig(epochs=2, gradient_accumulation_steps=2),
    )
    found = prepare_stages(stages_of(config), resolve_compute("cpu"))[0]
    assert len(found.trainer.training) == 5
    return found


def _health(total_steps: int) -> HealthHook:
    return HealthHook(PolicyValueTask.columns, total_steps, 1e9, ())


def test_a_run_that_does_what_it_says(prepared):
    state = prepared.state()
    prepared.trainer.fit(state, [])
    assert (state.step, state.ahead) == (6, 0)


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"says": 1}, "batches of epoch 1 by the loader: 6 announced, 5 found"),
        ({"says": -1}, "batches of epoch 1 by the loader: 4 announced, 5 found"),
        ({"omits": 1}, "batches of epoch 1 by the loader: 5 announced, 4 found"),
        ({"omits": -1}, "batches of epoch 1 by the loader: 5 announced, 6 found"),
        ({"omits": 3}, "steps of epoch 1 by the schedule: 3 announced, 1 found"),
        ({"omits": 2, "after": 1}, "batches of epoch 2 by the loader: 5 announced, 3"),
    ],
)
def test_a_loader_that_lies(prepared, lie, says):
    source = Lying(prepared.trainer.training, **lie)
    trainer = dataclasses.replace(prepared.trainer, training=source)
    with pytest.raises(BugError, match=says):
        trainer.fit(prepared.state(), [])


def test_a_length_that_changes_moves_the_schedule(prepared):
    """More announced and given from the second epoch on: each epoch agrees alone."""
    source = Lying(prepared.trainer.training, says=2, omits=-2, after=1)
    trainer = dataclasses.replace(prepared.trainer, training=source)
    says = "optimiser steps beyond the schedule's: 0 announced, -1 found"
    with pytest.raises(BugError, match=says):
        trainer.fit(prepared.state(), [])


def test_a_validation_loader_that_lies(prepared):
    source = Lying(prepared.trainer.validation, says=1)
    trainer = dataclasses.replace(prepared.trainer, validation=source)
    with pytest.raises(BugError, match="batches of validation by the loader"):
        trainer.fit(prepared.state(), [])


def test_progress_of_another_length(prepared):
    says = "optimiser steps of the run by the progress: 7 announced, 6 found"
    with pytest.raises(BugError, match=says):
        prepared.trainer.fit(prepared.state(), [_health(6), _health(7)])


def test_after_a_resume_within_an_epoch(prepared, tmp_path):
    class _CutError(Exception):
        pass

    class Cut(HealthHook):
        def on_step(self, state, sums, waited) -> None:
            if state.step == 2:
                raise _CutError

    every_step = CheckpointConfig(checkpoint_interval="1steps")
    record = {"stage": 3, "data_fingerprint": "", **as_plain(prepared.stage.config)}
    hooks = [
        CheckpointHook(tmp_path, record, every_step),
        Cut(PolicyValueTask.columns, 6, 1e9, ()),
    ]
    with pytest.raises(_CutError):
        prepared.trainer.fit(prepared.state(), hooks)
    point = find_resume_point(str(tmp_path), tmp_path)

    def resumed():
        state = prepared.state()
        restore(state, point.folder, prepared.trainer.task.metrics)
        assert (state.step, state.batches) == (2, 4)
        return state

    state = resumed()
    prepared.trainer.take_place(state, same_data=True)
    prepared.trainer.fit(state, [_health(6)])
    assert state.step == 6
    # A place that is wrong by a step shows before training goes on.
    state = resumed()
    state.batches = 2
    with pytest.raises(CheckpointError, match="step 2 after 0 epochs and 2 batches"):
        prepared.trainer.take_place(state, same_data=True)
    # With other data, the same is no bug; what follows still has to agree.
    prepared.trainer.take_place(state, same_data=False)
    prepared.trainer.fit(state, [_health(6)])
    assert (state.step, state.ahead) == (7, 1)
    source = Lying(prepared.trainer.training, omits=1)
    trainer = dataclasses.replace(prepared.trainer, training=source)
    with pytest.raises(BugError, match="epoch 1 by the loader: 1 announced, 0 found"):
        trainer.fit(resumed(), [])


@pytest.mark.parametrize("omits", range(1, 5))
@pytest.mark.parametrize("batches", range(6))
def test_a_place_in_other_data(prepared, batches, omits):
    """Within an epoch, or beyond its end where the data has become less."""

    @dataclasses.dataclass
    class Less(Lying):
        def batches(self, epoch: int, start: int = 0) -> Iterator:
            left = len(self) - start
            return itertools.islice(self.source.batches(epoch, start), max(0, left))

    source = Less(prepared.trainer.training, says=-omits)
    trainer = dataclasses.replace(prepared.trainer, training=source)
    state = prepared.state()
    state.before = prepared.trainer.validate(state.network, state.network)
    state.batches, state.step = batches, -(-batches // 2)
    trainer.take_place(state, same_data=False)
    assert state.batches <= len(source)
    trainer.take_place(state, same_data=True)  # as after a checkpoint there
    trainer.fit(state, [])
    assert (state.epoch, state.batches) == (2, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 1},
        {"batches": 6, "step": 3},
        {"batches": 10**18},
        {"step": 10**9},
        {"ahead": 1},
    ],
)
def test_a_place_that_cannot_be(prepared, changes):
    state = dataclasses.replace(prepared.state(), **changes)
    with pytest.raises(CheckpointError, match="is no place in this run"):
        prepared.trainer.take_place(state, same_data=True)
