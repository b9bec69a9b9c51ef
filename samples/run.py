"""`make sample`: from the shipped games to a trained network, with the real commands.

Prints each command before it runs it, so that it can be repeated by hand.
"""

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GAMES = Path("samples/games")
OUTPUT = Path("sample-run")


def run(*arguments: str) -> None:
    """Show a maou command, run it, and stop if it fails."""
    print(f"\n$ maou {shlex.join(arguments)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "maou", *arguments], cwd=ROOT, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    """Convert, train, and say where everything is."""
    begin = time.monotonic()
    shutil.rmtree(ROOT / OUTPUT, ignore_errors=True)
    run(
        "hcpe-convert",
        *("--input-path", str(GAMES)),
        *("--output-dir", str(OUTPUT / "hcpe")),
    )
    run(
        "learn-model",
        *("--input-path", str(OUTPUT / "hcpe")),
        *("--gpu", "cpu"),
        *("--resnet-blocks", "4"),
        *("--resnet-channels", "48"),
        *("--batch-size", "256"),
        *("--epoch", "1"),
        *("--test-ratio", "0.1"),
        *("--model-dir", str(OUTPUT / "models")),
        *("--log-dir", str(OUTPUT / "logs")),
    )
    print(f"\nAll of this took {time.monotonic() - begin:.0f} seconds.")


if __name__ == "__main__":
    main()
