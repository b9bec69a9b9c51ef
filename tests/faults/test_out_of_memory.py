"""Memory that really runs out: the process may have no more address space.

A layer that takes some megabytes for every position makes that come early, at a size
that does not depend on the machine.
"""

import dataclasses
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from maou.config import RunConfig
from maou.data.config import DataConfig
from maou.errors import TrainingError
from maou.model.config import ModelConfig
from maou.prepared import Prepared, prepare_stages
from maou.sources.config import SourceConfig
from maou.stages import stages_of
from maou.train.config import TrainConfig
from maou.train.device import resolve_compute
from maou.train.events import OUT_OF_MEMORY, Event
from maou.train.hooks import Hook
from maou.train.state import TrainState

MEGABYTE = 2**20
ROOM = 3000 * MEGABYTE  # of which some 600 are for all else that a step takes
A_ROW = 96 * MEGABYTE
FITTING = 25  # of 100 rows, 50 take 4,800 MB and 25 take 2,400 MB


@contextmanager
def limited_memory(room: int) -> Iterator[None]:
    """Let this process have `room` bytes more than it has, while it is in here."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@dataclasses.dataclass
class Events(Hook):
    found: list[Event] = dataclasses.field(default_factory=list)

    def on_event(self, state: TrainState, event: Event) -> None:
        self.found.append(event)


@pytest.fixture(scope="module")
def shards(tmp_path_factory, selfplay_rows) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for number in range(3):
        rows = selfplay_rows[9000 * number : 9000 * number + 130]
        (folder / f"{number}.hcpe").write_bytes(rows.tobytes())
    return folder


def _prepare(shards: Path, **model: object) -> Prepared:
    config = RunConfig(
        source=SourceConfig(input_path=shards),
        data=DataConfig(batch_size=100),
        model=ModelConfig(**{"resnet_blocks": 1, "resnet_channels": 8, **model}),
        train=TrainConfig(epochs=1, gradient_accumulation_steps=2),
    )
    return prepare_stages(stages_of(config), resolve_compute("cpu"))[0]


def _begin(prepared: Prepared) -> TrainState:
    torch.manual_seed(3)
    network = prepared.stage.build()
    return dataclasses.replace(prepared, network=network).state()


def _take_memory(state: TrainState, *, while_training: bool) -> None:
    """Have the head take memory for each row, as a layer of a large network does."""

    def take(module, inputs, outputs) -> None:
        if module.training is while_training:
            torch.empty(len(outputs) * A_ROW, dtype=torch.uint8)

    state.network.policy_head.register_forward_hook(take)


VIT = {"model_architecture": "vit", "vit_embed_dim": 16, "vit_num_layers": 1}
VIT |= {"vit_num_heads": 2}


@pytest.mark.parametrize("model", [{}, VIT], ids=["resnet", "vit with dropout"])
def test_a_step_that_does_not_fit_is_made_in_halves_with_the_same_result(shards, model):
    prepared = _prepare(shards, **model)
    events, state = Events(), _begin(prepared)
    _take_memory(state, while_training=True)
    with limited_memory(ROOM):
        prepared.trainer.fit(state, [events])
    assert state.micro_batch == FITTING
    (event,) = events.found  # said once, for two halvings
    assert (event.kind, event.step) == (OUT_OF_MEMORY, 1)
    assert event.values == {"micro_batch": FITTING}
    assert "out of memory with 100 positions at a time; going on with 25" in event.text
    # Bit by bit what comes of parts of that size from the start: what was begun and
    # cut off, dropout masks included, left nothing behind.
    small = _begin(prepared)
    small.micro_batch = FITTING
    prepared.trainer.fit(small, [])
    assert small.step == state.step == 2
    for name, tensor in small.network.state_dict().items():
        assert torch.equal(state.network.state_dict()[name], tensor), name
    if model:
        return
    # And of whole batches up to rounding.
    whole = _begin(prepared)
    prepared.trainer.fit(whole, [])
    assert whole.micro_batch is None
    assert state.last.total_loss == pytest.approx(whole.last.total_loss, rel=1e-4)
    for name, tensor in whole.network.state_dict().items():
        found = state.network.state_dict()[name]
        torch.testing.assert_close(found, tensor, rtol=1e-3, atol=1e-4)


def test_a_validation_that_does_not_fit_is_made_in_halves(shards):
    prepared = _prepare(shards)
    events, state = Events(), _begin(prepared)
    _take_memory(state, while_training=False)
    with limited_memory(ROOM):
        prepared.trainer.fit(state, [events])
    assert state.micro_batch == FITTING
    assert [event.kind for event in events.found] == [OUT_OF_MEMORY]
    assert state.before.rows == state.last.rows == prepared.data.validation.count


def test_a_single_position_that_does_not_fit_is_a_clear_error(shards):
    prepared = _prepare(shards)
    state = _begin(prepared)
    before = {name: t.clone() for name, t in state.network.state_dict().items()}

    def take(module, inputs, outputs) -> None:
        if module.training:
            torch.empty(2 * ROOM, dtype=torch.uint8)

    state.network.value_head.register_forward_hook(take)
    says = r"out of memory with a single position at a time .*allocate .*smaller"
    with limited_memory(ROOM), pytest.raises(TrainingError, match=says):
        prepared.trainer.fit(state, [])
    assert state.step == 0
    for name, tensor in state.network.state_dict().items():
        assert torch.equal(before[name], tensor)


def test_an_instrument_may_refuse_to_halve(shards):
    prepared = _prepare(shards)
    state = _begin(prepared)
    _take_memory(state, while_training=True)
    trainer = dataclasses.replace(prepared.trainer, halve=False)
    with limited_memory(ROOM), pytest.raises(RuntimeError, match="allocate memory"):
        trainer.fit(state, [])
    assert state.micro_batch is None


COMMAND = """
import resource, sys
from pathlib import Path

import torch
import maou.prepared
from maou.cli.main import run

torch.set_num_threads(1)

class Limited(maou.prepared.Trainer):
    def train_epoch(self, *arguments):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 320 * 2**20
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        try:
            return super().train_epoch(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))

maou.prepared.Trainer = Limited  # the same, but that it trains with little memory
sys.exit(run(sys.argv[1:]))
"""


def test_learn_model_goes_on_in_a_process_with_little_memory(tmp_path, selfplay_rows):
    (tmp_path / "rows").mkdir()
    for number in range(3):
        rows = selfplay_rows[9000 * number : 9000 * number + 600]
        (tmp_path / "rows" / f"{number}.hcpe").write_bytes(rows.tobytes())
    arguments = (
        *("learn-model", "--gpu", "cpu", "--input-path", str(tmp_path / "rows")),
        *("--batch-size", "1200", "--resnet-blocks", "1", "--resnet-channels", "64"),
        *("--epoch", "1", "--no-export-onnx", "--model-dir", str(tmp_path / "m")),
        *("--log-dir", str(tmp_path / "l")),
    )
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("out of memory with 1,200 positions at a time") == 1
    (folder,) = (tmp_path / "m").iterdir()
    state = json.loads((folder / "last" / "state.json").read_text())
    assert (state["step"], state["rows"]) == (1, 1200)
    assert state["micro_batch"] < 1200
    (file,) = (tmp_path / "l").glob("*/metrics.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    told = [line for line in lines if line["kind"] == OUT_OF_MEMORY]
    assert told[-1]["micro_batch"] == state["micro_batch"]
