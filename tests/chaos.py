"""Kills training at random moments, again and again, and lets it go on each time.

`make chaos` runs it for 300 rounds and prints what it did; tests/faults/test_kills.py
runs a few. Whatever was killed when, the run has to end as the one that nobody killed:
every byte of every checkpoint that is left, the links, and the logged validations.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maou.checkpoint.manifest import MANIFEST, verify_manifest
from system_faults import Processes, Rule, killed

SELFPLAY = Path(__file__).parent / "data" / "selfplay.hcpe"
NETWORK = ("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8")
PLACES = ("--model-dir", "m", "--log-dir", "l", "--checkpoint-interval", "1steps")
PLAIN = (
    *(*NETWORK, *PLACES, "--input-path", "../games", "--no-export-onnx"),
    *("--batch-size", "80", "--epoch", "3", "--gradient-accumulation-steps", "2"),
    *("--mirror-probability", "0.3", "--keep", "best,best-per-head,last:2"),
)
STAGED = (
    *(*NETWORK, *PLACES, "--stage", "all", "--stage1-data-path", "../stage1"),
    *("--stage2-data-path", "../stage2", "--stage3-data-path", "../soft"),
    *("--stage1-max-epochs", "2", "--stage1-batch-size", "600"),
    *("--stage1-threshold", "0.01", "--stage2-threshold", "1e-9"),
    *("--input-file-packed", "--batch-size", "90", "--epoch", "2", "--no-export-onnx"),
)
EXPORTED = tuple(word for word in PLAIN if word != "--no-export-onnx")
SHORT = (
    *(*NETWORK, *PLACES, "--input-path", "../games", "--no-export-onnx"),
    *("--batch-size", "160", "--epoch", "2", "--gradient-accumulation-steps", "2"),
)
"""Four steps in two epochs, both the best so far."""
GO_ON = ("--resume-from", "latest", "--model-dir", "m")
SCENARIOS = {"plain": PLAIN, "staged": STAGED, "exported": EXPORTED}


def make_games(folder: Path) -> None:
    """Write three shards of games."""
    (folder / "games").mkdir(parents=True)
    rows = np.fromfile(SELFPLAY, dtype=np.uint8, count=500 * 38).reshape(-1, 38)
    for number, part in enumerate(np.array_split(rows, 3)):
        (folder / "games" / f"{number}.hcpe").write_bytes(part.tobytes())


def make_stages(folder: Path) -> None:
    """Write records of all stages, of the games that are there."""
    from maou.cli.main import run

    shards = ("--input-path", f"{folder}/games")
    for words in (
        ("utility", "generate-stage1-data", "--output-dir", f"{folder}/stage1"),
        (
            *("utility", "generate-stage2-data", "--workers", "0", *shards),
            *("--output-dir", f"{folder}/stage2"),
        ),
        ("pre-process", "--workers", "1", *shards, "--output-dir", f"{folder}/soft"),
    ):
        assert run(list(words)) == 0


def outcome(folder: Path) -> dict[str, object]:
    """Give all that two runs must have alike, checking what there is."""
    # One that was killed before it had settings is nothing to go on with.
    (run,) = (path.parent for path in folder.glob("m/*/run.toml"))
    logs = folder / "l" / run.name
    found: dict[str, object] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.is_symlink():
            found[name] = path.readlink().name
        elif path.name == MANIFEST:
            verify_manifest(path.parent)
            found[name] = path.read_bytes()
        elif path.suffix == ".onnx":
            found[name] = path.read_bytes()
        assert not path.name.startswith("."), f"left behind: {path}"
    for path in sorted(logs.rglob("metrics.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        name = str(path.relative_to(logs))
        found[name] = [line for line in lines if line["kind"] == "validation"]
        found[f"{name} shown"] = _shown(path.parent)
    return found


def _shown(logs: Path) -> dict[str, list[tuple[int, float]]]:
    """Give the validation curves as TensorBoard shows them."""
    events = EventAccumulator(str(logs)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if tag.startswith("validation/")
    }


@dataclass
class Report:
    """What was done to a scenario.

    Attributes:
        kills: how many there were, by what the process was doing.
        completed: runs that ended and were compared.
    """

    kills: Counter[str] = field(default_factory=Counter)
    completed: int = 0


@dataclass
class Chaos:
    """Rounds of one scenario.

    Attributes:
        processes: start the runs.
        data: where `make_data` wrote.
        arguments: of learn-model.
        dice: chooses the moments.
    """

    processes: Processes
    data: Path
    arguments: tuple[str, ...]
    dice: random.Random
    report: Report = field(default_factory=Report)

    def run(self, rounds: int) -> Report:
        """Kill so many times; raise AssertionError where a promise does not hold."""
        whole = self._fresh("whole")
        log = self.data / "calls"
        begin = time.monotonic()
        code, text = self.processes.run(whole, learn=self.arguments, log=str(log))
        seconds = time.monotonic() - begin
        assert code == 0, text
        calls = sum("/whole/" in call for call in log.read_text().splitlines())
        expected = outcome(whole)
        cut = self._fresh("cut")
        left = rounds
        while left:
            if self._round(cut, calls, seconds):
                left -= 1
            else:
                self._compare(cut, expected)
                cut = self._fresh("cut")
        code, text = self._go_on(cut)
        assert code == 0, text
        self._compare(cut, expected)
        return self.report

    def _fresh(self, name: str) -> Path:
        folder = self.data / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def _round(self, cut: Path, calls: int, seconds: float) -> bool:
        """Begin or go on, and be killed; tell whether the run was not over before."""
        log = self.data / "calls"
        log.unlink(missing_ok=True)
        if self.dice.random() < 0.75:
            nth = self.dice.randint(1, calls)
            code, text = self._go_on(cut, killed(nth, "/cut/"), log=str(log))
        else:
            delay = self.dice.uniform(0, seconds)
            code, text = self._go_on(cut, log=str(log), kill_after=delay)
        assert code in (0, -9), text
        if code:
            self.report.kills[_doing(log, text)] += 1
        return code != 0

    def _go_on(self, cut: Path, *rules: Rule, **job: object) -> tuple[int, str]:
        """Do what a user's script would: go on where there is something."""
        arguments = self.arguments
        if any(cut.glob("m/*/run.toml")):
            arguments = GO_ON
        return self.processes.run(cut, *rules, learn=arguments, **job)

    def _compare(self, cut: Path, expected: dict[str, object]) -> None:
        found = outcome(cut)
        extra = found.keys() ^ expected.keys()
        assert not extra, f"only in one of the two runs: {sorted(extra)}"
        differing = [name for name in found if found[name] != expected[name]]
        assert not differing, f"not as the run that nobody killed: {differing}"
        self.report.completed += 1


def _doing(log: Path, text: str) -> str:
    """Tell what a process was doing, from its last call and what it printed."""
    calls = log.read_text().splitlines() if log.exists() else []
    path = next((call for call in reversed(calls) if "/cut/" in call), "")
    if ".removed" in path:
        return "removing a checkpoint"
    if ".partial" in path:
        link = any(f".{name}.partial" in path for name in ("last", "best"))
        return "moving a link" if link or ".best-" in path else "writing a checkpoint"
    if ".onnx" in path:
        return "exporting"
    if "events.out" in path or "metrics.jsonl" in path:
        return "logging, or computing after it"
    if "validation before training" not in text and "step" not in text:
        return "starting"
    return "computing"


def main() -> None:
    """Run the scenarios and print what was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    memory = Path("/dev/shm")  # noqa: S108 - a kill is none of the disk's business
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        make_games(folder / "data")
        make_stages(folder / "data")
        processes = Processes(folder)
        total: Counter[str] = Counter()
        for number, (scenario, arguments) in enumerate(SCENARIOS.items()):
            rounds = options.rounds * (number + 1) // 3 - options.rounds * number // 3
            dice = random.Random(options.seed + number)
            report = Chaos(processes, folder / "data", arguments, dice).run(rounds)
            total += report.kills
            print(
                f"{scenario}: {report.kills.total()} kills, after each of which it "
                f"went on; {report.completed} runs ended as the one nobody killed",
                flush=True,
            )
        processes.close()
    for doing, count in total.most_common():
        print(f"{count:6}  while {doing}")


if __name__ == "__main__":
    main()
