"""Keyed numbers equal plain Python, and never change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maou.data.order import map_order, mirror_key, order_within, windows
from maou.records.keys import key_of, keyed_hash, permutation

WORD = 2**64
U64 = st.integers(0, WORD - 1)


def splitmix(value: int) -> int:
    """SplitMix64's output for a state, as published."""
    value = (value + 0x9E3779B97F4A7C15) % WORD
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % WORD
    value = (value ^ value >> 27) * 0x94D049BB133111EB % WORD
    return value ^ value >> 31


def plain_permutation(count: int, key: int) -> list[int]:
    values = list(range(count))
    for i in range(count - 1, 0, -1):
        j = (splitmix((key + i) % WORD) >> 32) * (i + 1) >> 32
        values[i], values[j] = values[j], values[i]
    return values


def test_splitmix_is_the_published_generator() -> None:
    """First outputs of the reference implementation from seed 1234567."""
    state, out = 1234567, []
    for _ in range(3):
        out.append(splitmix(state))
        state = (state + 0x9E3779B97F4A7C15) % WORD
    assert out == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(st.lists(U64, max_size=4))
def test_key_of_chains_splitmix(parts: list[int]) -> None:
    key = 0
    for part in parts:
        key = splitmix(key ^ part)
    assert key_of(*parts) == key


@given(st.lists(U64, max_size=30), U64)
def test_keyed_hash_mixes_each_number_with_the_key(
    numbers: list[int], key: int
) -> None:
    hashed = keyed_hash(np.array(numbers, dtype=np.uint64), key)
    assert hashed.tolist() == [splitmix(number ^ key) for number in numbers]


@given(st.integers(0, 300), U64)
def test_permutation_is_a_plain_fisher_yates(count: int, key: int) -> None:
    assert permutation(count, key).tolist() == plain_permutation(count, key)


def test_keys_never_change() -> None:
    """Golden: a change here is a new order for everybody's runs and resumes."""
    assert key_of() == 0
    assert key_of(0) == 16294208416658607535
    assert key_of(1, 2, 3) == 15020427595393229491
    assert permutation(12, 7).tolist() == [6, 8, 2, 11, 1, 7, 10, 9, 4, 3, 5, 0]
    assert map_order(12, seed=0, epoch=0).tolist() == [
        5,
        1,
        2,
        3,
        0,
        9,
        11,
        7,
        10,
        4,
        6,
        8,
    ]
    assert mirror_key(0, 0) == 8375938640524739345
    counts = np.array([3, 1, 4, 1, 5, 9, 2, 6], dtype=np.int64)
    made = list(windows(counts, 8, seed=3, epoch=2))
    assert [window.blocks.tolist() for window in made] == [
        [0, 3, 7],
        [4, 2],
        [1, 5],
        [6],
    ]
    assert order_within(made[0], 3, 2).tolist() == [9, 1, 8, 6, 3, 0, 4, 2, 5, 7]


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=60),
    st.integers(1, 200),
    st.integers(0, 2**63 - 1),
    st.integers(0, 100),
)
def test_windows_take_each_block_once_and_stop_when_full(
    counts: list[int], window_rows: int, seed: int, epoch: int
) -> None:
    array = np.array(counts, dtype=np.int64)
    made = list(windows(array, window_rows, seed, epoch))
    blocks = [block for window in made for block in window.blocks.tolist()]
    assert sorted(blocks) == list(range(len(counts)))
    first = 0
    for window in made:
        sizes = array[window.blocks]
        assert window.first == first
        assert window.count == sizes.sum()
        assert window.count - sizes[-1] < window_rows, "it was full before the last"
        first += window.count
    for window in made[:-1]:
        assert window.count >= window_rows


@pytest.mark.parametrize("size", [2, 3, 10])
def test_every_place_is_equally_likely(size: int) -> None:
    """Chi-squared over 20,000 keys; the bound is five standard deviations."""
    trials = 20_000
    table = np.zeros((size, size))
    for key in range(trials):
        table[np.arange(size), permutation(size, key_of(5, key))] += 1
    expected = trials / size
    statistic = ((table - expected) ** 2 / expected).sum()
    freedom = (size - 1) ** 2
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)


def test_hashes_spread_evenly_and_avalanche() -> None:
    numbers = np.arange(50_000, dtype=np.uint64)
    hashed = keyed_hash(numbers, key_of(1))
    assert len(np.unique(hashed)) == 50_000
    buckets = np.bincount((hashed >> np.uint64(58)).astype(np.int64), minlength=64)
    assert abs(buckets - 50_000 / 64).max() < 5 * np.sqrt(50_000 / 64)
    for bit in (0, 17, 63):
        other = keyed_hash(numbers ^ np.uint64(1 << bit), key_of(1))
        flipped = np.bitwise_count(hashed ^ other).mean()
        assert abs(flipped - 32) < 0.5


def test_neighbouring_seeds_and_epochs_have_unrelated_orders() -> None:
    orders = [map_order(5000, seed, epoch) for seed in range(3) for epoch in range(3)]
    for i, left in enumerate(orders):
        for right in orders[:i]:
            assert (left == right).sum() < 12, "about one place in common by chance"
            assert abs(np.corrcoef(left, right)[0, 1]) < 0.08
