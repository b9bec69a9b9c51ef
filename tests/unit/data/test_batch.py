"""A batch is one buffer whose parts are what the decoder wrote."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from maou.data.batch import (
    BYTES_PER_POSITION,
    FlagBatch,
    SoftBatch,
    flag_batch,
    new_batch,
    soft_batch,
)
from maou.shogi.samples import decode_samples


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_parts_are_views_of_one_buffer(
    count: int, selfplay_rows: npt.NDArray[np.uint8]
) -> None:
    rows = selfplay_rows[:count]
    batch, samples = new_batch(count)
    assert decode_samples(rows, out=samples) is samples
    expected = decode_samples(rows)
    assert len(batch) == count
    assert batch.buffer.dtype == torch.uint8
    assert batch.buffer.shape == (count * BYTES_PER_POSITION,)
    assert BYTES_PER_POSITION == 101
    parts = (batch.board_BS, batch.hand_BH, batch.label_B, batch.value_B)
    kinds = (torch.uint8, torch.uint8, torch.int64, torch.float32)
    for part, kind, truth in zip(parts, kinds, expected, strict=False):
        assert part.dtype == kind
        np.testing.assert_array_equal(part.numpy(), truth)
    moved = batch.to(torch.device("cpu"))
    assert moved.buffer.equal(batch.buffer)


def _soft(count: int) -> SoftBatch:
    random = np.random.default_rng(1)
    sizes_B = random.integers(0, 4, count)
    labels = np.concatenate([random.permutation(1496)[:size] for size in sizes_B])
    return soft_batch(
        random.integers(0, 29, (count, 81), dtype=np.uint8),
        random.integers(0, 19, (count, 14), dtype=np.uint8),
        random.random(count, dtype=np.float32),
        sizes_B,
        (labels.astype(np.int16), random.random(len(labels), dtype=np.float32)),
    )


def _flags(count: int) -> FlagBatch:
    random = np.random.default_rng(2)
    bits = [random.integers(0, 256, (count, n), dtype=np.uint8) for n in (81, 14, 11)]
    return flag_batch(*bits, flags=81)


@pytest.mark.parametrize("kind", ["labels", "shares", "flags"])
@pytest.mark.parametrize(("begin", "end"), [(0, 9), (0, 4), (4, 9), (3, 4), (5, 5)])
def test_some_positions_of_a_batch_are_those_of_the_whole(
    kind: str, begin: int, end: int, selfplay_rows: npt.NDArray[np.uint8]
) -> None:
    if kind == "labels":
        batch, samples = new_batch(9)
        decode_samples(selfplay_rows[:9], out=samples)
    else:
        batch = {"shares": _soft, "flags": _flags}[kind](9)
    part = batch.take(begin, end)
    assert len(part) == end - begin
    pairs = [(part.board_BS, batch.board_BS), (part.hand_BH, batch.hand_BH)]
    if kind == "flags":
        pairs.append((part.flags_BK(), batch.flags_BK()))
    else:
        pairs.append((part.value_B, batch.value_B))
        pairs.append((part.policy_target(), batch.policy_target()))
    for ours, whole in pairs:
        assert ours.dtype == whole.dtype
        assert ours.equal(whole[begin:end])
