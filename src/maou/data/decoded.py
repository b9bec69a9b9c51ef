"""Decoded hcpe records: what `--cache-transforms` keeps instead of raw ones.

A row is 101 bytes, the content of one position of a `Batch`, so that making a batch is
copying: four times as fast as decoding. A damaged record is kept as what is wrong with
it, and is an error when its batch is made, as if it had been decoded then.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from maou.data.batch import BYTES_PER_POSITION, PlayedBatch, new_batch
from maou.data.kinds import HcpeRows, Index, Locate, Positions, refuse_damaged
from maou.shogi.pieces import HAND_SIZE
from maou.shogi.samples import decode_samples, mirror_samples
from maou.shogi.squares import N_SQUARES

_ROW = np.dtype(
    [
        ("value", "<f4"),
        ("label", "<i2"),
        ("board", "u1", (N_SQUARES,)),
        ("hand", "u1", (HAND_SIZE,)),
    ]
)
assert _ROW.itemsize == BYTES_PER_POSITION


def decode_rows(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Decode raw hcpe records to uint8 [n, 101].

    The label of a damaged record is minus its status.
    """
    samples = decode_samples(raw)
    rows = np.empty(len(raw), dtype=_ROW)
    rows["value"] = samples.value_B
    damaged_B = samples.status_B != 0
    rows["label"] = np.where(
        damaged_B, -samples.status_B.astype(np.int16), samples.label_B
    )
    rows["board"], rows["hand"] = samples.board_BS, samples.hand_BH
    return rows.view(np.uint8).reshape(-1, _ROW.itemsize)


class DecodedRows(HcpeRows):
    """Rows of `decode_rows`, uint8 [n, 101]: one array, as raw records are."""

    def positions(self, rows: Any) -> Positions:
        """Return what is there."""
        fields = rows.view(_ROW).reshape(-1)
        return fields["board"], fields["hand"]

    def encode(
        self,
        rows: Any,
        index: Index,
        locate: Locate,
        mirrored_B: npt.NDArray[np.bool_] | None = None,
    ) -> PlayedBatch:
        """Copy rows to a batch."""
        batch, samples = new_batch(len(index))
        fields = rows[index].view(_ROW).reshape(-1)
        samples.value_B[:], samples.label_B[:] = fields["value"], fields["label"]
        samples.board_BS[:], samples.hand_BH[:] = fields["board"], fields["hand"]
        refuse_damaged(np.maximum(-samples.label_B, 0), index, locate)
        if mirrored_B is not None:
            mirror_samples(samples, mirrored_B)
        return batch


DECODED_ROWS = DecodedRows()
