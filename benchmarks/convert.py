"""Conversion speed: `maou hcpe-convert` against a single-core script on cshogi.

Run `python benchmarks/convert.py [FOLDER]`; FOLDER holds CSA files (default: the
repository's samples/games), copied until there are enough positions. Each line is
measured end to end, from the start of the process to records on disk. The last line is
one JSON object.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def convert_with_cshogi(source: Path, out: Path) -> None:
    """Convert the games of a folder to one raw hcpe file, as cshogi's users do."""
    import cshogi
    import numpy as np
    from cshogi import CSA

    board = cshogi.Board()
    with out.open("wb") as stream:
        for path in sorted(source.glob("*.csa")):
            for game in CSA.Parser.parse_file(str(path)):
                rows = np.zeros(len(game.moves), dtype=cshogi.HuffmanCodedPosAndEval)
                board.set_sfen(game.sfen)
                for row, move, score in zip(rows, game.moves, game.scores, strict=True):
                    assert board.is_legal(move)
                    board.to_hcp(row["hcp"])
                    row["eval"] = score if board.turn == cshogi.BLACK else -score
                    row["bestMove16"] = cshogi.move16(move)
                    row["gameResult"] = game.win
                    board.push(move)
                rows.tofile(stream)


def timed(command: list[str]) -> tuple[float, float]:
    """Run a command; return its wall seconds and CPU seconds."""
    before, began = _cpu(), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - began, _cpu() - before


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def copies_of(source: Path, target: Path, positions: int) -> int:
    """Copy CSA files until they hold enough positions; return their bytes."""
    files = sorted(source.rglob("*.csa"))
    if not files:
        sys.exit(f"{source}: no .csa files")
    held = sum(path.read_bytes().count(b"\n+") for path in files) * 2
    for copy in range(max(1, -(-positions // max(1, held)))):
        for number, path in enumerate(files):
            shutil.copy(path, target / f"{copy:03d}-{number:05d}.csa")
    return sum(path.stat().st_size for path in target.iterdir())


def measure(
    folder: Path, name: str, workers: int | None, container: str
) -> dict[str, object]:
    """Convert the folder once; return a row of the table."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "out")
        if workers is None:
            raw = Path(temporary, "out.hcpe")
            script = [sys.executable, __file__, "--cshogi", str(raw), str(folder)]
            wall, cpu = timed(script)
            positions = raw.stat().st_size // 38
        else:
            command = [sys.executable, "-m", "maou", "hcpe-convert"]
            command += ["--input-path", str(folder), "--output-dir", str(out)]
            command += ["--workers", str(workers), "--output-format", container]
            wall, cpu = timed(command)
            progress = json.loads((out / "hcpe-convert.json").read_text())
            positions = progress["positions"]
    return {
        "name": name,
        "workers": workers,
        "container": container,
        "positions": positions,
        "seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "positions_per_second": round(positions / wall),
    }


def main() -> None:
    """Measure, print the table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "samples/games")
    parser.add_argument("--positions", type=int, default=2_000_000)
    parser.add_argument("--repeat", type=int, default=2, help="best of so many runs")
    parser.add_argument("--cshogi", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cshogi:
        convert_with_cshogi(given.folder, given.cshogi)
        return
    plan = [
        ("cshogi script, 1 core", None, "hcpe"),
        ("maou, 1 worker", 1, "hcpe"),
        ("maou, 2 workers", 2, "hcpe"),
        ("maou, 1 worker, rich", 1, "feather"),
        ("maou, 2 workers, rich", 2, "feather"),
    ]
    with tempfile.TemporaryDirectory() as temporary:
        size = copies_of(given.folder, Path(temporary), given.positions)
        print(
            f"{size / 1e6:.0f} MB of CSA on {os.cpu_count()} cores, best of "
            f"{given.repeat} runs, process start included\n"
        )
        print(
            f"{'':24}{'container':>10}{'positions':>12}{'s':>8}{'CPU s':>8}"
            f"{'positions/s':>13}{'ratio':>7}"
        )
        rows = []
        for name, workers, container in plan:
            runs = [
                measure(Path(temporary), name, workers, container)
                for _ in range(given.repeat)
            ]
            best = min(runs, key=lambda run: float(str(run["seconds"])))
            rows.append(best)
            speed = float(str(best["positions_per_second"]))
            base = float(str(rows[0]["positions_per_second"]))
            print(
                f"{name:24}{container:>10}{best['positions']:>12,}"
                f"{best['seconds']:>8.2f}{best['cpu_seconds']:>8.2f}"
                f"{speed:>13,.0f}{speed / base:>7.2f}",
                flush=True,
            )
    print()
    print(json.dumps({"benchmark": "convert", "bytes": size, "rows": rows}))


if __name__ == "__main__":
    main()
