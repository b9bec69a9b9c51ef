"""What a checkpoint costs: a network of 20 million parameters with AdamW's state.

In turns: the whole save, and the same bytes written and flushed as plain files, which
is as fast as the disk allows. The difference is ours: hashes, renames, links, removal.

    python benchmarks/checkpoint.py [FOLDER] [--rounds N] [--device D]
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import report
from maou.checkpoint.config import CheckpointConfig
from maou.checkpoint.save import save_checkpoint
from maou.model.config import ModelConfig
from maou.model.network import build_network
from maou.optim.config import OptimConfig
from maou.optim.optimizer import build_optimizer
from maou.train.state import TrainState

SIZES = ModelConfig(resnet_blocks=17, resnet_channels=256)


def main() -> None:
    """Measure both and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", help="on the disk to measure")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    state = _state(options.device)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        run, plain = Path(name, "run"), Path(name, "plain")
        contents = _contents(save_checkpoint(run, state, {}))

        def save() -> None:
            state.step += 1
            save_checkpoint(run, state, {})

        works = {"save": save, "plain": lambda: _write(plain, contents)}
        times = report.in_turns(works, options.rounds)
        cpu = {name: _cpu_seconds(work) for name, work in works.items()}
    _tell(state, contents, times, cpu)


def _state(device: str) -> TrainState:
    """Make a network whose optimiser has made a step."""
    network = build_network(SIZES).to(device)
    optimizer = build_optimizer(network.named_parameters(), OptimConfig())
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return TrainState(network, optimizer, epoch=1)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    """Write and flush the same bytes to new files, and remove the old ones."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in contents.items():
        with (folder / name).open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())


def _cpu_seconds(work: Callable[[], object]) -> float:
    """Give the processor's time of one call, which other processes do not stretch."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def _tell(
    state: TrainState,
    contents: dict[str, bytes],
    times: dict[str, list[float]],
    cpu: dict[str, float],
) -> None:
    parameters = sum(p.numel() for p in state.network.parameters())
    size = sum(map(len, contents.values()))
    save, plain = (statistics.median(times[name]) for name in ("save", "plain"))
    gaps = [a - b for a, b in zip(times["save"], times["plain"], strict=True)]
    beyond = statistics.median(gaps)
    interval = CheckpointConfig().interval.seconds
    assert interval is not None
    report.show(
        ("", "s", "of these the processor's"),
        [
            ("save", f"{save:.2f}", f"{cpu['save']:.2f}"),
            ("the same bytes, flushed", f"{plain:.2f}", f"{cpu['plain']:.2f}"),
            (
                "beyond the disk (median of the rounds)",
                f"{beyond:.2f}",
                f"{cpu['save'] - cpu['plain']:.2f}",
            ),
        ],
    )
    print(
        f"{parameters:,} parameters, {size / 1e6:.0f} MB; one save every "
        f"{interval:.0f} s is {save / interval:.2%} of the time"
    )
    report.finish(
        "checkpoint",
        {"save_s": save, "plain_s": plain, "beyond_s": beyond, "cpu_s": cpu},
    )


if __name__ == "__main__":
    main()
