"""Damaged files of every kind: they are read, or refused with an error of ours."""

from pathlib import Path

import pytest

from fuzz.engine import Target, check
from fuzz.game_targets import GAMES, SETTINGS
from fuzz.model_targets import MODELS
from fuzz.shard_targets import SHARDS

CASES = {
    "npy": 400, "feather": 300, "raw": 100, "psv": 100, "bin": 100, "hcpe3": 300,
    "preprocess npy": 300, "preprocess feather": 200, "stage npy": 200, "csa": 400,
    "kif": 300, "ki2": 60, "run.toml": 200, "hcpe-convert.json": 150,
    "pre-process.json": 40, "onnx": 150,
}  # fmt: skip
OTHERS = 50

TARGETS = (*SHARDS, *GAMES, *SETTINGS, *MODELS)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_only_our_own_errors_come_out(target: Target, tmp_path: Path) -> None:
    cases = CASES.get(target.name, OTHERS)
    assert check(target, cases, tmp_path) >= cases // 2  # the same case is drawn once
