"""What all tests share: one thread, reproducible examples, the shipped positions."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded; inherited

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what is
    signal.signal(signal.SIGINT, signal.default_int_handler)  # to run beside it

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
import torch

from shard_files import identities

torch.set_num_threads(1)

hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def selfplay_path() -> Path:
    """55,437 raw hcpe records of 500 games, in game order (tests/data/README.md)."""
    return DATA / "selfplay.hcpe"


@pytest.fixture(scope="session")
def selfplay_rows(selfplay_path: Path) -> npt.NDArray[np.uint8]:
    """Those records, uint8 [55437, 38], not to be written to."""
    rows = np.fromfile(selfplay_path, dtype=np.uint8).reshape(-1, 38)
    rows.flags.writeable = False
    return rows


@pytest.fixture(scope="session")
def selfplay_games() -> npt.NDArray[np.int64]:
    """How many of those records each of the 500 games has, from its CSA record."""
    text = (DATA / "selfplay-games.txt").read_text()
    return np.array(text.split(), dtype=np.int64)


@pytest.fixture(scope="session")
def distinct_rows(selfplay_rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Rows no two of which make the same sample, so that a sample tells its row."""
    first = {}
    for number, identity in enumerate(identities(selfplay_rows)):
        first.setdefault(identity, number)
    rows = selfplay_rows[sorted(first.values())]
    rows.flags.writeable = False
    return rows


@pytest.fixture(scope="session", params=("gcs", "s3"))
def cloud_server(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A real store on loopback, once for each provider (see cloud_stores)."""
    from cloud_stores import STORES

    server = STORES[request.param]()
    yield server
    server.close()


@pytest.fixture
def store(cloud_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Reach that store by the environment alone, with nothing counted yet."""
    for name, value in cloud_server.environment().items():
        monkeypatch.setenv(name, value)
    cloud_server.proxy.reset()
    yield cloud_server
    cloud_server.proxy.reset()  # no fault is left for a fixture of the next test


@pytest.fixture(scope="session")
def bigquery_server() -> Iterator[Any]:
    """A BigQuery server on loopback, started for the first test that asks for it."""
    from bigquery_server import BigQueryServer

    server = BigQueryServer()
    yield server
    server.close()


@pytest.fixture
def bigquery(bigquery_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Reach that server by the environment alone, with nothing counted yet."""
    for name, value in bigquery_server.environment().items():
        monkeypatch.setenv(name, value)
    bigquery_server.reset()
    yield bigquery_server
    bigquery_server.reset()
