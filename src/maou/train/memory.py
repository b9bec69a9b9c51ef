"""Out of memory: go on with smaller parts of the same batch.

A step's loss is the mean over all rows of its effective batch and no network looks
from one row to another (docs/decisions/0001), so the parts that the rows are computed
in change the result by no more than rounding.
"""

import gc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from maou.data.batch import PositionBatch
from maou.errors import MaouError, TrainingError
from maou.train.compiled import CompiledForward
from maou.train.events import OUT_OF_MEMORY, Event
from maou.train.state import TrainState

_SAID = (
    *("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED"),
    "could not create a primitive",
)
"""How torch, cuDNN and cuBLAS put it where they raise no error of its own; the last is
oneDNN's, whose other reasons a smaller batch does not cure: they end in the error."""

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    said = isinstance(error, RuntimeError) and not isinstance(error, MaouError)
    return said and any(words in str(error) for words in _SAID)


def in_parts(
    batches: Iterable[PositionBatch], rows: int | None
) -> Iterator[PositionBatch]:
    """Cut batches into parts of at most `rows` rows; None leaves them whole."""
    for batch in batches:
        if rows is None or len(batch) <= rows:
            yield batch
            continue
        for begin in range(0, len(batch), rows):
            yield batch.take(begin, min(begin + rows, len(batch)))


@dataclass(frozen=True)
class Parts:
    """Computes batches in parts that fit in memory.

    Attributes:
        batch_size: rows of a full batch.
        halve: whether to try smaller parts where memory runs out.
    """

    batch_size: int
    halve: bool

    def of(
        self, batches: Iterable[PositionBatch], state: TrainState, forward: nn.Module
    ) -> Iterator[PositionBatch]:
        """Cut batches to the size in use; parts of that size run compiled."""
        if isinstance(forward, CompiledForward):
            forward.batch_size = state.micro_batch or self.batch_size
        return in_parts(batches, state.micro_batch)

    def attempt(
        self,
        attempt: Callable[[], T],
        state: TrainState,
        tell: Callable[[Event], None],
        undo: Callable[[], None] = lambda: None,
    ) -> T:
        """Attempt something with ever smaller parts, until the memory suffices.

        Args:
            attempt: uses parts of `state.micro_batch` rows.
            state: its `micro_batch` is halved as often as it takes.
            tell: called once if it was.
            undo: called between two attempts.

        Raises:
            TrainingError: the memory does not suffice for a single row.
        """
        before = state.micro_batch
        while True:
            try:
                done = attempt()
                break
            except (RuntimeError, MemoryError) as error:
                if not (self.halve and is_out_of_memory(error)):
                    raise
                reason = (str(error).strip() or "out of memory").splitlines()[0]
            # Only here has the error, whose frames hold what was allocated, gone.
            undo()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            state.micro_batch = _half(state.micro_batch or self.batch_size, reason)
        if state.micro_batch != before:
            tell(_event(state, before or self.batch_size))
        return done


def _half(rows: int, reason: str) -> int:
    if rows > 1:
        return -(-rows // 2)
    raise TrainingError(
        f"out of memory with a single position at a time ({reason}); use a smaller "
        "network, --gradient-checkpointing, or a device with more memory"
    )


def _event(state: TrainState, rows: int) -> Event:
    """Tell that parts are smaller than `rows` from now on."""
    assert state.micro_batch is not None
    step = state.step + 1
    text = (
        f"step {step:,}: out of memory with {rows:,} positions at a time; going on "
        f"with {state.micro_batch:,}. The effective batch and its gradient stay the "
        "same"
    )
    return Event(OUT_OF_MEMORY, step, text, {"micro_batch": state.micro_batch})
