"""From raw rows to a batch, naming the file and row of anything that is damaged."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from maou.data.batch import Batch, new_batch
from maou.data.keys import keyed_hash
from maou.errors import DataError
from maou.records.shards import Rows
from maou.shogi.samples import SAMPLE_STATUS_TEXT, decode_samples, mirror_samples

Locate = Callable[[int], str]
"""Gives the file and row (`path: row 17`) of an element of the rows."""


def encode(
    rows: Rows,
    index: npt.NDArray[np.int64],
    locate: Locate,
    mirrored_B: npt.NDArray[np.bool_] | None = None,
) -> Batch:
    """Decode the rows that `index` names, and mirror those that are chosen.

    Args:
        rows: raw records, uint8 [n, 38].
        index: which of them to take, int64 [B].
        locate: names the origin of an element of `rows`.
        mirrored_B: which of the batch to mirror, bool [B]; none when None.

    Raises:
        DataError: a row is damaged; the message names the first one.
    """
    batch, samples = new_batch(len(index))
    decode_samples(rows, index, samples)
    if samples.status_B.any():
        bad = int(np.flatnonzero(samples.status_B)[0])
        raise DataError(
            f"{locate(int(index[bad]))}: "
            f"{SAMPLE_STATUS_TEXT[int(samples.status_B[bad])]}"
        )
    if mirrored_B is not None:
        mirror_samples(samples, mirrored_B)
    return batch


def choose_mirrored(
    first: int, count: int, key: int, probability: float
) -> npt.NDArray[np.bool_] | None:
    """Choose which samples of a batch to mirror; None when none ever is.

    The choice depends on a sample's place in the epoch and the key alone, so batch
    size and workers do not matter.

    Args:
        first: place of the batch's first sample in the epoch.
        count: number of samples.
        key: made from the seed and the epoch.
        probability: share of the samples to mirror, 0 to 1.
    """
    if probability <= 0:
        return None
    places = np.arange(first, first + count, dtype=np.uint64)
    return (keyed_hash(places, key) >> np.uint64(11)) * 2.0**-53 < probability
