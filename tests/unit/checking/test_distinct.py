"""Distinct keys are counted alike in one file and in many."""

from pathlib import Path

import numpy as np
import pytest

from maou.checking import distinct
from maou.checking.distinct import Distinct, KeyFiles


@pytest.mark.parametrize("file_keys", [1, 10, 100, 1 << 22])
def test_keys_are_counted_in_any_number_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_keys: int
) -> None:
    monkeypatch.setattr(distinct, "_FILE_KEYS", file_keys)
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 2**64, 60, dtype=np.uint64)[rng.integers(0, 60, 150)]
    keys[:2] = 0, 2**64 - 1
    with KeyFiles(tmp_path, "keys", len(keys)) as files:
        for part in np.array_split(keys, 7):
            files.add(part)
        found = files.count()
    assert len(list(tmp_path.iterdir())) >= min(100, len(keys) / file_keys)
    _, counts = np.unique(keys, return_counts=True)
    assert found == Distinct(150, len(counts), int(counts.max()))


def test_no_keys(tmp_path: Path) -> None:
    with KeyFiles(tmp_path, "keys", 0) as files:
        assert files.count() == Distinct(0, 0, 0)
