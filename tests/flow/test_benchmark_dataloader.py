"""`maou utility benchmark-dataloader` on real positions."""

import json

import pytest

from maou.cli.main import run


@pytest.fixture(scope="module")
def shards(tmp_path_factory, selfplay_rows):
    folder = tmp_path_factory.mktemp("shards")
    for number in range(3):
        rows = selfplay_rows[number * 500 : (number + 1) * 500]
        (folder / f"{number}.hcpe").write_bytes(rows.tobytes())
    return folder


def test_every_case_is_measured_and_the_best_comes_first(shards, tmp_path, capfd):
    path = tmp_path / "result.json"
    arguments = (
        *("--input-path", str(shards), "--batch-size", "64", "--seconds", "0.05"),
        *("--workers", "0", "--workers", "1", "--prefetch", "2", "--prefetch", "8"),
        *("--json", str(path)),
    )
    assert run(["utility", "benchmark-dataloader", *arguments]) == 0
    cases = json.loads(path.read_text())
    assert len(cases) == 3 * (1 + 2)
    speeds = [case["rows_per_second"] for case in cases]
    assert speeds == sorted(speeds, reverse=True)
    assert min(speeds) > 0
    output = capfd.readouterr()
    assert f"learn-model {cases[0]['flags']}" in output.out
    assert "(best)" in output.out
    flags = {case["flags"] for case in cases}
    assert "--streaming --dataloader-workers 0" in flags
    expected = "--no-streaming --input-cache-mode memory --dataloader-workers 1"
    assert f"{expected} --prefetch-factor 8" in flags


def test_wrong_input_is_one_message(tmp_path, capfd):
    code = run(["utility", "benchmark-dataloader", "--input-path", str(tmp_path)])
    assert code == 2
    assert "no shards here" in capfd.readouterr().err
