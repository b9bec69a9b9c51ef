"""`maou utility benchmark-training` on real positions: the real loop, a few batches."""

import json
from pathlib import Path

import pytest
import torch

from maou.cli.main import run
from maou.train.laps import PHASES
from maou.train.task import PolicyValueTask

TINY = ("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8")
SHORT = ("--batches", "4", "--warm-up", "2")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder, to see what is left in it."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def shard(tmp_path_factory, selfplay_rows):
    path = tmp_path_factory.mktemp("shards") / "rows.hcpe"
    path.write_bytes(selfplay_rows[:4000].tobytes())
    return path


def benchmark(*arguments: object) -> int:
    return run(["utility", "benchmark-training", *TINY, *map(str, arguments)])


def of_json(capfd, *arguments: object):
    assert benchmark(*arguments, "--json", "-") == 0
    return json.loads(capfd.readouterr().out)


KEYS = {
    *("batch_size", "flags", "out_of_memory", "warm_up", "steps", "shortened"),
    *("rows_per_second", "step_seconds", "phase_seconds", "first_batch", "training"),
    *("validation", "epoch", "peak_memory", "memory_kind", "trace"),
}


def test_phases_sum_to_the_step_and_nothing_is_written(shard, capfd, elsewhere):
    found = of_json(capfd, "--input-path", shard, "--batch-size", 64, *SHORT)
    assert set(found) == {
        *("stage", "device", "precision", "gradient_accumulation_steps", "cases")
    }
    (case,) = found["cases"]
    assert set(case) == KEYS
    assert (found["stage"], case["batch_size"]) == (3, 64)
    assert (case["warm_up"], case["steps"], case["shortened"]) == (2, 4, False)
    assert set(case["phase_seconds"]) == {*PHASES, "hooks"}
    assert all(seconds > 0 for seconds in case["phase_seconds"].values())
    assert sum(case["phase_seconds"].values()) == pytest.approx(
        case["step_seconds"], rel=0.02
    )
    assert 64 / case["rows_per_second"] == pytest.approx(case["step_seconds"])
    assert case["epoch"] == case["training"] + case["validation"]
    assert case["training"] > case["first_batch"] > 0
    assert case["validation"] > 0
    assert case["peak_memory"] > 50e6
    assert list(elsewhere.iterdir()) == []


def test_a_sweep_shows_the_fastest_first_with_its_flags(shard, tmp_path, capfd):
    path = tmp_path / "result.json"
    sizes = ("--batch-sizes", 16, "--batch-sizes", 64, "--batch-sizes", 32)
    code = benchmark("--input-path", shard, *sizes, *SHORT, "--json", path)
    assert code == 0
    cases = json.loads(path.read_text())["cases"]
    assert {case["batch_size"] for case in cases} == {16, 32, 64}
    speeds = [case["rows_per_second"] for case in cases]
    assert speeds == sorted(speeds, reverse=True)
    output = capfd.readouterr()
    assert f"learn-model {cases[0]['flags']}\n" in output.out
    assert f"{cases[0]['batch_size']} (best)" in output.out
    for phase in PHASES:
        assert phase in output.out
    assert output.err.index("--batch-size 16:") < output.err.index("--batch-size 64:")


def test_accumulated_batches_make_one_step(shard, capfd):
    micro = ("--gradient-accumulation-steps", 3, "--batch-size", 16)
    found = of_json(
        capfd, "--input-path", shard, *micro, "--batches", 7, "--warm-up", 1
    )
    (case,) = found["cases"]
    assert found["gradient_accumulation_steps"] == 3
    assert (case["warm_up"], case["steps"]) == (1, 3)
    assert 3 * 16 / case["rows_per_second"] == pytest.approx(case["step_seconds"])


@pytest.mark.parametrize(("size", "warm_up", "steps"), [(1000, 0, 4), (4000, 0, 1)])
def test_a_short_epoch_is_measured_whole(shard, capfd, size, warm_up, steps):
    assert benchmark("--input-path", shard, "--batch-size", size, "--json", "-") == 0
    output = capfd.readouterr()
    (case,) = json.loads(output.out)["cases"]
    assert (case["warm_up"], case["steps"], case["shortened"]) == (warm_up, steps, True)
    assert all(seconds >= 0 for seconds in case["phase_seconds"].values())
    assert "an epoch is too short" in output.err


def test_workers_and_streaming(shard, capfd):
    loader = ("--dataloader-workers", 1, "--streaming", "--batch-size", 64)
    found = of_json(capfd, "--input-path", shard, *loader, *SHORT)
    assert found["cases"][0]["rows_per_second"] > 0


def test_profiling_leaves_a_trace(shard, capfd, elsewhere, tmp_path):
    base = ("--input-path", shard, "--batch-size", 32, *SHORT, "--enable-profiling")
    (case,) = of_json(capfd, *base, "--profile-dir", tmp_path / "traces")["cases"]
    assert Path(case["trace"]).parent == tmp_path / "traces"
    events = json.loads(Path(case["trace"]).read_text())["traceEvents"]
    assert any("aten::" in event.get("name", "") for event in events)
    assert list(elsewhere.iterdir()) == []
    assert benchmark("--input-path", elsewhere, "--enable-profiling") == 2
    assert list(elsewhere.iterdir()) == []
    capfd.readouterr()
    (case,) = of_json(capfd, *base)["cases"]
    (trace,) = elsewhere.glob("logs/training_profile_*/*")
    assert trace.samefile(case["trace"])
    base = (*base, "--batch-size", 4000)  # one step an epoch
    (case,) = of_json(capfd, *base, "--profile-dir", tmp_path / "one")["cases"]
    assert "aten::" in Path(case["trace"]).read_text()


def test_stage_1_is_measured_with_its_own_batch_size(tmp_path, capfd):
    data = tmp_path / "stage1"
    arguments = ["utility", "generate-stage1-data", "--output-dir", str(data)]
    assert run(arguments) == 0
    capfd.readouterr()
    stage = ("--stage", 1, "--stage1-data-path", data, "--stage1-batch-size", 32)
    found = of_json(capfd, *stage, *SHORT)
    (case,) = found["cases"]
    assert found["stage"] == 1
    assert case["flags"] == "--stage1-batch-size 32"
    assert case["validation"] > 0
    found = of_json(capfd, *stage, *SHORT, "--batch-sizes", 16)
    assert found["cases"][0]["batch_size"] == 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--stage", "all"), "--stage all"),
        (("--stage", "1"), "--stage1-data-path"),
        (("--batches", "0"), "--batches"),
        (("--batch-sizes", "0"), "--batch-sizes"),
        (("--gpu", "nothing"), "--gpu nothing"),
        (("--profile-dir", "traces"), "--enable-profiling"),
        ((), "--input-path"),
    ],
)
def test_what_cannot_be_meant_is_one_message(arguments, message, capfd, elsewhere):
    assert benchmark(*arguments) == 2
    error = capfd.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(elsewhere.iterdir()) == []


def test_a_flag_without_effect_is_named(shard, capfd):
    base = ("--input-path", shard, "--batch-size", 32, *SHORT)
    assert benchmark(*base, "--momentum", 0.5) == 0
    assert "--momentum has no effect" in capfd.readouterr().err


def test_the_settings_of_a_run_can_come_from_its_file(shard, tmp_path, capfd):
    path = tmp_path / "run.toml"
    path.write_text(f'[source]\ninput-path = "{shard}"\n[data]\nbatch-size = 48\n')
    found = of_json(capfd, "--config", path, *SHORT)
    assert found["cases"][0]["batch_size"] == 48


@pytest.fixture
def small_gpu(monkeypatch):
    """Forward passes of more than 40 positions run out of memory."""
    original = PolicyValueTask.rows

    def rows(self, outputs, batch):
        if len(batch) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, outputs, batch)

    monkeypatch.setattr(PolicyValueTask, "rows", rows)


def test_a_batch_too_large_for_the_device_is_told_and_others_count(
    shard, small_gpu, tmp_path, capfd
):
    path = tmp_path / "result.json"
    sizes = ("--batch-sizes", 32, "--batch-sizes", 64)
    assert benchmark("--input-path", shard, *sizes, *SHORT, "--json", path) == 0
    small, large = json.loads(path.read_text())["cases"]
    assert (small["batch_size"], small["out_of_memory"]) == (32, False)
    assert set(large) == {"batch_size", "flags", "out_of_memory"}
    assert large["out_of_memory"]
    output = capfd.readouterr()
    assert "out of memory" in output.out
    assert "learn-model --batch-size 32\n" in output.out
    assert "--batch-size 64: out of memory" in output.err


def test_no_batch_size_that_fits_is_an_error(shard, small_gpu, capfd):
    assert benchmark("--input-path", shard, "--batch-size", 64, *SHORT) == 1
    assert "too little memory" in capfd.readouterr().err
