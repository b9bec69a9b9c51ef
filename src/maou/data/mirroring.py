"""Which samples are mirrored: a pure function of their place in the epoch."""

import numpy as np
import numpy.typing as npt

from maou.records.keys import keyed_hash


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
