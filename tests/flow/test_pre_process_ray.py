"""`maou pre-process --engine ray` on a real cluster of two workers, on loopback."""

import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from maou.cli.main import run
from maou.convert import engine_ray, preprocess_input
from maou.convert.config_preprocess import PreProcessConfig
from maou.convert.preprocess import pre_process
from maou.convert.preprocess_state import Report

ROWS = 30_000
ALL_SPILLED = 0.599  # of all work


def _two_nodes(cluster: Any) -> Any:
    made = cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "_system_config": {
                "health_check_initial_delay_ms": 0,
                "health_check_period_ms": 200,
                "health_check_failure_threshold": 2,
                "max_lineage_bytes": 1,  # Ray itself cannot make lost objects again
            },
        },
    )
    made.workers = [made.add_node(num_cpus=1) for _ in range(2)]
    return made


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each, beside the one that this process is on."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    try:
        made = _two_nodes(Cluster)
    except Exception:  # noqa: BLE001 - Ray waits for half a minute; others are busy too
        made = _two_nodes(Cluster)
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def source(tmp_path_factory, selfplay_rows, selfplay_games) -> Path:
    """Raw shards of whole games, and one whose positions are to be left out."""
    folder = tmp_path_factory.mktemp("games")
    ends = np.cumsum(selfplay_games)
    cuts = [0, *(int(ends[ends <= ROWS * i // 6][-1]) for i in range(1, 7))]
    for i, (start, stop) in enumerate(itertools.pairwise(cuts)):
        (folder / f"{i}.hcpe").write_bytes(selfplay_rows[start:stop].tobytes())
    (folder.parent / "left-out.hcpe").write_bytes(
        selfplay_rows[40_000:41_000].tobytes()
    )
    return folder


def flags(source: Path, out: Path, *more: str) -> list[str]:
    return [
        *("pre-process", "--input-path", str(source), "--output-dir", str(out)),
        *("--exclude", str(source.parent / "left-out.hcpe")),
        *("--shard-rows", "6000", *more),
    ]


def contents(folder: Path) -> dict[str, bytes]:
    """Everything a run leaves, its record of the work included."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def reference(source, tmp_path_factory) -> dict[str, bytes]:
    """What the threads of one machine leave."""
    out = tmp_path_factory.mktemp("threads") / "out"
    assert run(flags(source, out)) == 0
    made = contents(out)
    assert len(made) == 7, "five shards to train, one to validate, the state"
    assert json.loads(made["pre-process.json"])["excluded_rows"][0] > 100
    return made


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--ray-address", "here:1"), "--ray-address: needs --engine ray"),
        (
            ("--engine", "ray", "--ray-address", "127.0.0.1:1"),
            "--engine ray: no cluster at 127.0.0.1:1",
        ),
    ],
)
def test_what_cannot_run_is_one_clear_error(source, tmp_path, capsys, more, said):
    assert run(flags(source, tmp_path / "out", *more)) in (1, 2)
    assert said in capsys.readouterr().err


def test_without_the_extra_the_error_says_how_to_install_it(
    source, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(flags(source, tmp_path / "out", "--engine", "ray")) == 2
    assert "pip install 'maou[ray]'" in capsys.readouterr().err


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make chunks of one shard each, so that there are several."""
    monkeypatch.setattr(preprocess_input, "TASK_ROWS", 2_000)
    monkeypatch.setattr(engine_ray, "_FEWEST_ROWS", 5_000)


def kill_first(name: str, killed: list[int], over: threading.Event) -> None:
    """Kill the first worker that is at such a task, as a crash would."""
    while not (killed or over.is_set()):
        for process in psutil.process_iter(["cmdline"]):
            if name in " ".join(process.info["cmdline"] or ()):
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)
                break
        time.sleep(0.005)


def test_a_killed_worker_changes_no_byte(
    cluster, source, reference, small_pieces, tmp_path
):
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(
        target=kill_first, args=("ray::spill_chunk", killed, over)
    )
    killer.start()
    try:
        assert run(flags(source, tmp_path / "out", "--engine", "ray")) == 0
    finally:
        over.set()
        killer.join()
    assert killed
    assert contents(tmp_path / "out") == reference


def test_one_worker_and_a_resumed_run_change_no_byte(
    cluster, source, reference, small_pieces, tmp_path
):
    class StopError(Exception):
        pass

    def stop(report: Report) -> None:
        if report.phase == "merge" and report.fraction > 0.75:
            raise StopError

    out = tmp_path / "out"
    config = PreProcessConfig(
        input_path=source,
        output_dir=out,
        exclude=(source.parent / "left-out.hcpe",),
        shard_rows=6000,
        engine="ray",
        workers=1,
    )
    with pytest.raises(StopError):
        pre_process(config, stop)
    kept = {path: path.stat().st_mtime_ns for path in (out / "spilled").glob("range-*")}
    assert kept
    assert not list((out / "spilled").glob("run-*"))
    seen: list[Report] = []

    def keeps_ranges(report: Report) -> None:
        seen.append(report)
        if report.phase == "merge":
            assert all(path.stat().st_mtime_ns == kept[path] for path in kept)

    pre_process(config, keeps_ranges)
    merges = sum(report.phase == "merge" for report in seen)
    assert 0 < merges == 32 - len(kept) // 4, "two files a side of each range"
    assert contents(out) == reference


def test_dead_nodes_change_no_byte(
    cluster, source, reference, small_pieces, tmp_path, monkeypatch
):
    # Few ranges, so that each cut is too large for Ray to keep it with the driver.
    monkeypatch.setattr(engine_ray, "_FEWEST_BITS", 1)
    monkeypatch.setattr(engine_ray, "_FEWEST_ROWS", 15_000)
    spilled: list[float] = []

    def kill(report: Report) -> None:
        if report.phase == "spill":
            spilled.append(report.fraction)
        if report.fraction > ALL_SPILLED and len(cluster.workers) == 2:
            cluster.workers.append(cluster.add_node(num_cpus=1))
            for node in cluster.workers[:2]:
                cluster.remove_node(node, allow_graceful=False)

    config = PreProcessConfig(
        input_path=source,
        output_dir=tmp_path / "out",
        exclude=(source.parent / "left-out.hcpe",),
        shard_rows=6000,
        engine="ray",
    )
    pre_process(config, kill)
    assert len(cluster.workers) == 3
    assert len(spilled) == len(set(spilled)) * 2, "all were spilled twice"
    assert contents(tmp_path / "out") == reference
