"""A batch is one buffer whose parts are what the decoder wrote."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from maou.data.batch import BYTES_PER_POSITION, new_batch
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
