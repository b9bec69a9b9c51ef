"""Keyed numbers: hashes and shuffles that are pure functions of their key.

They do not depend on numpy's generators, so that a split or an order stays what it was
across versions and machines. The mixing function is SplitMix64's (Steele, Lea and
Flood, OOPSLA 2014).
"""

import numpy as np
import numpy.typing as npt

from maou.shogi.compiled import inlined, kernel

GOLDEN, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""SplitMix64's numbers."""

_GOLDEN, _MIX_1, _MIX_2 = np.uint64(GOLDEN), np.uint64(MIX_1), np.uint64(MIX_2)
_MASK = 2**64 - 1


@inlined
def mix(value: np.uint64) -> np.uint64:
    """Mix the bits of a 64-bit number (a bijection)."""
    value = value + _GOLDEN
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


def key_of(*parts: int) -> int:
    """Combine whole numbers into one 64-bit key; their order matters."""
    key = 0
    for part in parts:
        value = (key ^ part) & _MASK
        value = (value + GOLDEN) & _MASK
        value = ((value ^ (value >> 30)) * MIX_1) & _MASK
        value = ((value ^ (value >> 27)) * MIX_2) & _MASK
        key = value ^ (value >> 31)
    return key


@kernel
def _hash_numbers(
    numbers: npt.NDArray[np.uint64], key: np.uint64, out: npt.NDArray[np.uint64]
) -> None:
    for i in range(len(numbers)):
        out[i] = mix(numbers[i] ^ key)


def keyed_hash(numbers: npt.NDArray[np.uint64], key: int) -> npt.NDArray[np.uint64]:
    """Hash each number under a key, uint64 [n]."""
    out = np.empty(len(numbers), dtype=np.uint64)
    _hash_numbers(numbers, np.uint64(key), out)
    return out


@kernel
def _shuffle(values: npt.NDArray[np.int64], key: np.uint64) -> None:
    for i in range(len(values) - 1, 0, -1):
        random = mix(key + np.uint64(i)) >> np.uint64(32)
        j = np.int64((random * np.uint64(i + 1)) >> np.uint64(32))
        values[i], values[j] = values[j], values[i]


def permutation(count: int, key: int) -> npt.NDArray[np.int64]:
    """Return a permutation of `range(count)` keyed by `key`, int64 [count].

    Fisher and Yates' shuffle, with numbers scaled by multiplication (Lemire 2019); the
    bias is below count / 2**32.
    """
    assert count < 2**32, "the scaling has 32 bits"
    values = np.arange(count, dtype=np.int64)
    _shuffle(values, np.uint64(key))
    return values
