"""Starts processes that have maou loaded already, and faults in them.

Run as a program: reads jobs, one JSON object a line, forks a process for each, and
answers each with its exit code (negative: the signal that ended it). It has never run a
backward pass itself, which torch's threads would not survive.
"""

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import maou.cli.learn_model  # noqa: F401 - otherwise every child loads it
from maou.cli.main import main
from maou.config import RunConfig
from maou.data.config import DataConfig
from maou.model.config import ModelConfig
from maou.plan import make_plan
from maou.prepared import prepare_stages
from maou.sources.config import SourceConfig
from maou.stages import stages_of
from maou.train.device import resolve_compute

SELFPLAY = Path(__file__).parent / "data" / "selfplay.hcpe"


def _warm_up() -> None:
    """Load what every run loads when it first needs it."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = np.fromfile(SELFPLAY, dtype=np.uint8, count=400 * 38)
        Path(folder, "a.hcpe").write_bytes(rows.tobytes())
        config = RunConfig(
            source=SourceConfig(input_path=Path(folder)),
            data=DataConfig(batch_size=50),
            model=ModelConfig(resnet_blocks=1, resnet_channels=8),
        )
        (prepared,) = prepare_stages(stages_of(config), resolve_compute("cpu"))
        make_plan(prepared.stage, prepared.data, prepared.trainer, prepared.network)
        trainer, network = prepared.trainer, prepared.network
        next(trainer.training.batches(0))
        trainer.validate(network, network)
        state = prepared.state()
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        state.optimizer.step()


def _begin(job: dict[str, Any]) -> None:
    """Set the child up: where it is, where it writes, and what will befall it."""
    os.setsid()
    os.chdir(job["folder"])
    output = os.open(job["output"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    null = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in ((null, 0), (output, 1), (output, 2)):
        os.dup2(ours, theirs)
    os.environ.update(job.get("environment", {}))
    if job.get("largest_file"):
        largest = job["largest_file"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    if job.get("rules") or job.get("log"):
        faults = ctypes.CDLL(None)
        if job.get("log"):
            faults.faults_log(job["log"].encode())
        for rule in job.get("rules", ()):
            kinds, path, needle, nth, action, argument = rule
            faults.faults_rule(
                ctypes.c_int(kinds),
                ctypes.c_char_p(path.encode()),
                ctypes.c_char_p(needle.encode()),
                ctypes.c_long(nth),
                ctypes.c_int(action),
                ctypes.c_int(argument),
            )


def _child(job: dict[str, Any]) -> None:
    code = 1
    try:
        _begin(job)
        if "learn" in job:
            main(["learn-model", *job["learn"]])
        else:
            module, name = job["call"].split(":")
            getattr(importlib.import_module(module), name)(*job["arguments"])
            code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(pid: int, seconds: float | None) -> int:
    """Wait for a child; kill it after some seconds."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while deadline is not None:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def serve() -> None:
    """Answer jobs until there are no more."""
    _warm_up()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if not pid:
            answers.close()
            _child(job)
        print(_wait(pid, job.get("kill_after")), file=answers, flush=True)


if __name__ == "__main__":
    serve()
