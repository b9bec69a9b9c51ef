"""Input positions per second of `maou pre-process`, and its peak memory.

Generates a shard of raw records from real ones: some as they are, so that positions
repeat, the others with two squares exchanged, so that they differ. The command is
measured from the start of its process to shards on disk, with one and two workers and
with a small memory limit, against a plain Python dictionary filled by cshogi.

    python benchmarks/preprocess.py [HCPE_FILE] [--rows N] [--limit SIZE]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

import report
from maou.convert.config_preprocess import parse_size
from maou.records.hcpe import HCPE
from maou.shogi.hcp import decode_hcp, encode_hcp

DEFAULT = Path(__file__).parent.parent / "tests" / "data" / "selfplay.hcpe"
THEIRS_ROWS = 50_000
REPEATED = 0.25
PIECE = 500_000


def main() -> None:
    """Generate, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--limit", default="300MB", help="the small memory limit")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--dictionary", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.dictionary:
        aggregate_with_cshogi(options.file)
        return
    plan = [("2 workers", "2", "2GB"), ("1 worker", "1", "2GB")]
    plan.append((f"2 workers, {options.limit}", "2", options.limit))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        large, small = folder / "large.hcpe", folder / "small.hcpe"
        generate(options.file, large, options.rows)
        with large.open("rb") as stream:
            small.write_bytes(stream.read(THEIRS_ROWS * HCPE.itemsize))
        script = [sys.executable, __file__, str(small), "--dictionary"]
        results = {"dictionary on cshogi": measured(script, THEIRS_ROWS)}
        for title, workers, limit in plan:
            command = [sys.executable, "-m", "maou", "pre-process", "--workers"]
            command += [workers, "--memory-limit", limit, "--input-path", str(large)]
            command += ["--output-dir", str(folder / title.replace(" ", "-"))]
            results[f"maou, {title}"] = measured(command, options.rows)
    base = results["dictionary on cshogi"]["positions_per_second"]
    report.show(
        [
            f"{options.rows:,} positions",
            "s",
            "CPU s",
            "positions/s",
            "ratio",
            "peak MB",
        ],
        [
            [
                title,
                f"{found['seconds']:.1f}",
                f"{found['cpu_seconds']:.1f}",
                f"{found['positions_per_second']:,.0f}",
                f"{found['positions_per_second'] / base:.1f} x",
                f"{found['peak_bytes'] / 1e6:,.0f}",
            ]
            for title, found in results.items()
        ],
    )
    peak = list(results.values())[-1]["peak_bytes"]
    within = peak <= parse_size("--limit", options.limit)
    print(f"the small limit {'held' if within else 'DID NOT HOLD'}")
    report.finish("preprocess", {"rows": options.rows, "results": results})


_LAUNCHER = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak}))
"""
"""A small process between: a child's peak begins with that of the one it is forked
from, which here has generated the data."""


def measured(command: list[str], rows: int) -> dict[str, float]:
    """Run a command; give its time and the peak of its resident memory."""
    launch = [sys.executable, "-c", _LAUNCHER, *command]
    done = subprocess.run(launch, check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return {**found, "positions_per_second": rows / found["seconds"]}


def generate(source: Path, target: Path, rows: int) -> None:
    """Write records of mostly distinct positions."""
    real = np.fromfile(source, dtype=HCPE)
    real = real[real["hcp"][:, 0] & 1 == 0]  # black to move, as `varied` codes them
    rng = np.random.default_rng(1)
    with target.open("wb") as stream:
        for start in range(0, rows, PIECE):
            count = min(PIECE, rows - start)
            made = real[rng.integers(0, len(real), count)]
            made["hcp"] = varied(made["hcp"], rng)
            stream.write(made.tobytes())


def varied(
    codes: npt.NDArray[np.uint8], rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Exchange two squares without kings in most positions, black to move."""
    board_BS, hand_BH, _ = decode_hcp(codes)
    row = np.arange(len(codes))
    left, right = rng.integers(0, 81, (2, len(codes)))
    kings = np.isin(board_BS[row, left], (8, 22)) | np.isin(
        board_BS[row, right], (8, 22)
    )
    right = np.where(kings, left, right)
    taken = board_BS[row, left].copy()
    board_BS[row, left] = board_BS[row, right]
    board_BS[row, right] = taken
    made, _ = encode_hcp(board_BS, hand_BH)
    return np.where((rng.random(len(codes)) < REPEATED)[:, None], codes, made)


def aggregate_with_cshogi(path: Path) -> None:
    """Aggregate as a plain script does: one dictionary, one position at a time."""
    import cshogi
    from cshogi.dlshogi import make_move_label

    found: dict[tuple[object, ...], dict[int, list[int]]] = {}
    board = cshogi.Board()
    for record in np.fromfile(path, dtype=cshogi.HuffmanCodedPosAndEval):
        board.set_hcp(np.ascontiguousarray(record["hcp"]))
        pieces, (black, white) = board.pieces, board.pieces_in_hand
        if board.turn == cshogi.WHITE:
            pieces = [piece and piece ^ 16 for piece in reversed(pieces)]
            black, white = white, black
        key = (tuple(pieces), tuple(black), tuple(white))
        move = board.move_from_move16(int(record["bestMove16"]))
        label = make_move_label(move, board.turn)
        result = int(record["gameResult"])
        points = 1 if result == 0 else 2 * (result == board.turn + 1)
        sums = found.setdefault(key, {}).setdefault(label, [0, 0])
        sums[0] += 1
        sums[1] += points


if __name__ == "__main__":
    main()
