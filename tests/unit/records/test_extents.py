"""Where a shard says that rows lie: reading them takes no other bytes."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from maou.records.containers import open_hcpe_shard
from maou.records.hcpe import HCPE, RAW_FIELDS, rich_dtype

HEAD = 256
ROWS = 100


def _file(folder: Path, suffix: str, rows: npt.NDArray[np.uint8]) -> Path:
    path = folder / f"shard{suffix}"
    if suffix == ".hcpe":
        path.write_bytes(rows.tobytes())
    elif suffix == ".psv":
        path.write_bytes(np.zeros((len(rows), 40), np.uint8).tobytes())
    else:
        rich = np.zeros(len(rows), rich_dtype())
        for name in RAW_FIELDS:
            rich[name] = rows.view(HCPE).reshape(-1)[name]
        np.save(path, rich)
    return path


@pytest.mark.parametrize("suffix", [".hcpe", ".npy", ".psv"])
def test_rows_are_read_from_their_extents_alone(suffix, tmp_path, selfplay_rows):
    shard = open_hcpe_shard(_file(tmp_path, suffix, selfplay_rows[:ROWS]))
    expected = shard.read(20, 33)
    ((offset, count),) = shard.extents(20, 33)
    data = bytearray(shard.path.read_bytes())
    end = offset + count
    data[HEAD if suffix == ".npy" else 0 : offset] = bytes(1) * (
        offset - (HEAD if suffix == ".npy" else 0)
    )
    data[end:] = bytes(len(data) - end)
    shard.path.write_bytes(data)
    assert (shard.read(20, 33) == expected).all()
