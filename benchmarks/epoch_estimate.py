"""What `maou utility benchmark-training` says of an epoch, and real epochs, in turns.

A real epoch is timed from the outside: from the validation line before training to the
one after the first epoch, with its logs and its checkpoint. On a machine that others
use too, `--cpu-time` has both count the seconds of the processor that they were given
instead of those on the wall; it fits one thread and no workers.

    OMP_NUM_THREADS=1 python benchmarks/epoch_estimate.py [HCPE_FILE] [--rounds N]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import report

CPU_CLOCK = (
    "import time; time.perf_counter = time.process_time; "
    "from maou.cli.main import main; main()"
)
"""The command line, with a clock that stands still while others compute."""

DEFAULT = Path(__file__).parent.parent / "tests" / "data" / "selfplay.hcpe"


def estimate(flags: list[str], *, cpu_time: bool) -> float:
    """Ask the command."""
    maou = ["-c", CPU_CLOCK] if cpu_time else ["-m", "maou"]
    line = [sys.executable, *maou, "utility", "benchmark-training", *flags]
    ended = subprocess.run(
        [*line, "--json", "-"], check=True, stdout=subprocess.PIPE, text=True
    )
    return float(json.loads(ended.stdout)["cases"][0]["epoch"])


def real(flags: list[str], *, cpu_time: bool) -> float:
    """Train an epoch."""
    with tempfile.TemporaryDirectory() as folder:
        places = ["--model-dir", f"{folder}/models", "--log-dir", f"{folder}/logs"]
        line = [sys.executable, "-m", "maou", "learn-model", *flags, *places]
        with subprocess.Popen(
            line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            before, after = (
                cpu_seconds(process.pid) if cpu_time else time.perf_counter()
                for said in process.stderr
                if said.startswith("validation ")
            )
        return after - before


def cpu_seconds(process: int) -> float:
    """Read how long a process has computed (Linux)."""
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    flags = [
        *("--input-path", str(options.file), "--batch-size", "256", "--epoch", "1"),
        *("--resnet-blocks", "4", "--resnet-channels", "32", "--gpu", "cpu"),
    ]
    rows, all_ratios = [], []
    for number in range(1, options.rounds + 1):
        said = estimate(flags, cpu_time=options.cpu_time)
        took = real(flags, cpu_time=options.cpu_time)
        all_ratios.append(said / took)
        rows.append([str(number), f"{said:.1f}", f"{took:.1f}", f"{said / took:.3f}"])
    report.show(["round", "estimate, s", "real epoch, s", "ratio"], rows)
    report.finish("epoch_estimate", {"ratios": all_ratios})


if __name__ == "__main__":
    main()
