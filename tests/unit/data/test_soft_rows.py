"""Preprocess records as training rows: targets, take, join, batches, mirroring."""

import numpy as np
import pytest
import torch

from maou.data.kinds import HCPE_ROWS, SOFT_ROWS
from maou.data.soft_rows import SoftRows, join_soft, take_soft
from maou.shogi.labels import MIRROR_LABEL, N_LABELS
from maou.shogi.samples import decode_samples


@pytest.fixture(scope="module")
def soft(selfplay_rows) -> SoftRows:
    """Give 200 positions one to four moves each, with shares that sum to 1."""
    random = np.random.default_rng(0)
    samples = decode_samples(selfplay_rows[:200])
    sizes = random.integers(1, 5, 200)
    labels = np.concatenate(
        [np.sort(random.choice(N_LABELS, size, replace=False)) for size in sizes]
    )
    shares = random.random(len(labels)) + 0.1
    total = np.add.reduceat(shares, np.cumsum(sizes) - sizes)
    return SoftRows(
        samples.board_BS,
        samples.hand_BH,
        random.random(200).astype(np.float32),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        labels.astype(np.int16),
        (shares / np.repeat(total, sizes)).astype(np.float32),
    )


def _dense(rows: SoftRows) -> np.ndarray:
    """Spread shares the slow way, float32 [B, 1496]."""
    dense = np.zeros((len(rows.board_BS), N_LABELS), dtype=np.float32)
    for i in range(len(dense)):
        for k in range(rows.offsets[i], rows.offsets[i + 1]):
            dense[i, rows.labels[k]] = rows.shares[k]
    return dense


def test_a_batch_has_the_targets_of_its_rows(soft):
    index = np.random.default_rng(1).permutation(200)[:50]
    batch = SOFT_ROWS.encode(soft, index, str)
    assert len(batch) == 50
    assert np.array_equal(batch.board_BS.numpy(), soft.board_BS[index])
    assert np.array_equal(batch.hand_BH.numpy(), soft.hand_BH[index])
    assert np.array_equal(batch.value_B.numpy(), soft.value_B[index])
    target = batch.policy_target()
    assert target.dtype == torch.float32
    assert np.array_equal(target.numpy(), _dense(soft)[index])
    torch.testing.assert_close(target.sum(1), torch.ones(50))
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.policy_target(), target)


def test_take_and_join_are_those_of_the_dense_rows(soft):
    index = np.array([7, 7, 0, 199, 3])
    taken = take_soft(soft, index)
    assert np.array_equal(_dense(taken), _dense(soft)[index])
    joined = join_soft([taken, soft, take_soft(soft, index[:1])])
    expected = np.concatenate([_dense(taken), _dense(soft), _dense(soft)[[7]]])
    assert np.array_equal(_dense(joined), expected)
    assert len(take_soft(soft, index[:0]).board_BS) == 0


def test_arrays_and_back_is_the_same(soft):
    again = SOFT_ROWS.from_arrays(SOFT_ROWS.arrays(soft))
    assert all(a is b for a, b in zip(again, soft, strict=True))


def test_mirroring_is_that_of_hcpe_rows(selfplay_rows):
    """One move with share 1 must mirror as the hard label does."""
    rows = selfplay_rows[:64]
    samples = decode_samples(rows)
    one = SoftRows(
        samples.board_BS,
        samples.hand_BH,
        samples.value_B,
        np.arange(65, dtype=np.int64),
        samples.label_B,
        np.ones(64, dtype=np.float32),
    )
    chosen = np.arange(64) % 3 == 0
    index = np.arange(64)
    hard = HCPE_ROWS.encode(rows, index, str, chosen)
    soft_batch = SOFT_ROWS.encode(one, index, str, chosen)
    assert torch.equal(hard.board_BS, soft_batch.board_BS)
    assert torch.equal(hard.hand_BH, soft_batch.hand_BH)
    assert torch.equal(hard.policy_target(), soft_batch.policy_target().argmax(1))
    label = samples.label_B
    expected = np.where(chosen, MIRROR_LABEL[label], label)
    assert np.array_equal(hard.policy_target().numpy(), expected)
