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
        *("--workers", "0", "--workers", "1", "--prefetch", "8"),
        *("--json", str(path)),
    )
    assert run(["utility", "benchmark-dataloader", *arguments]) == 0
    cases = json.loads(path.read_text())
    map_style, streaming = 2 * 2 * (1 + 1), 2 + 1
    assert len(cases) == map_style + streaming
    speeds = [case["rows_per_second"] for case in cases]
    assert speeds == sorted(speeds, reverse=True)
    assert min(speeds) > 0
    output = capfd.readouterr()
    assert f"learn-model {cases[0]['flags']}" in output.out
    assert "(best)" in output.out
    flags = {case["flags"] for case in cases}
    assert "--streaming --no-cache-transforms --dataloader-workers 0" in flags
    assert "--streaming --cache-transforms --dataloader-workers 0" in flags
    expected = "--no-streaming --input-cache-mode memory --cache-transforms"
    assert f"{expected} --dataloader-workers 1 --prefetch-factor 8" in flags
    assert all(bool(case["caching"]) == case["cache_transforms"] for case in cases)


def test_packed_preprocess_records_are_measured(shards, tmp_path, capfd):
    made = tmp_path / "made"
    arguments = ("--input-path", str(shards), "--output-dir", str(made))
    assert run(["pre-process", *arguments, "--output-format", "npy", "--packed"]) == 0
    capfd.readouterr()
    arguments = (
        *("--input-path", str(made), "--input-format", "preprocess"),
        *("--input-file-packed", "--batch-size", "64", "--seconds", "0.05"),
        *("--workers", "0", "--json", "-"),
    )
    assert run(["utility", "benchmark-dataloader", *arguments]) == 0
    cases = json.loads(capfd.readouterr().out)
    kept = [case for case in cases if case["cache_transforms"]]
    assert len(cases) == 3 + 1, "map-style rows of such records are decoded anyway"
    assert [case["streaming"] for case in kept] == [True]


def test_wrong_input_is_one_message(tmp_path, capfd):
    code = run(["utility", "benchmark-dataloader", "--input-path", str(tmp_path)])
    assert code == 2
    assert "no shards here" in capfd.readouterr().err
