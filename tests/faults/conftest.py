"""Processes with faults, for all tests of a worker."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos import SHORT, make_games, outcome
from system_faults import Processes, compiler


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Starts processes quickly, and faults in them."""
    if not compiler():
        pytest.skip("needs a C compiler (cc), as torch.compile does")
    started = Processes(tmp_path_factory.mktemp("processes"))
    yield started
    started.close()


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: many runs, each with many flushes."""
    memory = Path("/dev/shm")  # noqa: S108
    if not memory.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def expected(processes, tmp_path_factory) -> dict[str, object]:
    """What a run leaves whose disk is large and whole."""
    root = tmp_path_factory.mktemp("whole")
    make_games(root)
    (root / "run").mkdir()
    code, text = processes.run(root / "run", learn=SHORT)
    assert code == 0, text
    return outcome(root / "run")


@pytest.fixture
def run(memory_folder) -> Path:
    """A folder for a run, with games beside it."""
    make_games(memory_folder)
    (memory_folder / "run").mkdir()
    return memory_folder / "run"
