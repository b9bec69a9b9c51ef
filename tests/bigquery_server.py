"""A BigQuery server on loopback: bqemulator, in the environment that make makes."""

import json
import os
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

from fault_proxy import FaultProxy

ENVIRONMENT = Path(__file__).parents[1] / ".venv-bigquery"
PROJECT, DATASET = "test-project", "shogi"
START_SECONDS = 60


class BigQueryServer:
    """An emulator with one empty data set, and a proxy before its REST side.

    Attributes:
        rest, storage: where REST and the Storage API listen, as `host:port`.
        proxy: counts REST requests and lets some fail; a read asks for rows.
    """

    def __init__(self) -> None:
        program = ENVIRONMENT / "bin" / "bqemulator"
        assert program.exists(), f"no emulator: make {ENVIRONMENT.name}/.ready"
        home = str(ENVIRONMENT / "home")  # DuckDB's extension is there
        ports = ("--rest-port", "0", "--grpc-port", "0")
        self._process = subprocess.Popen(
            [program, "start", "--ephemeral", *ports],
            env={**os.environ, "HOME": home, "BQEMU_ENABLE_FORMAT_EXTENSIONS": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # It goes on logging, and would wait when nobody reads.
        found: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        threading.Thread(target=self._follow, args=(found,), daemon=True).start()
        try:
            listening = dict(found.get(timeout=START_SECONDS) for _ in range(2))
            self.rest, self.storage = listening["rest"], listening["grpc"]
        except queue.Empty:
            self._process.kill()
            raise AssertionError("bqemulator does not start") from None
        self.proxy = FaultProxy(self.rest, _reads_rows)
        self.client().create_dataset(DATASET)

    def _follow(self, found: "queue.SimpleQueue[tuple[str, str]]") -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if '.listen"' in line:
                event = json.loads(line)
                name = event["event"].removesuffix(".listen")
                found.put((name, f"{event['host']}:{event['port']}"))

    def client(self) -> Any:
        """Make a client that goes past the proxy, for preparing tables."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import bigquery

        return bigquery.Client(
            PROJECT,
            AnonymousCredentials(),
            client_options={"api_endpoint": f"http://{self.rest}"},
        )

    def environment(self) -> dict[str, str]:
        """Give the variables that lead to the proxy and to the Storage API."""
        return {
            "BIGQUERY_EMULATOR_HOST": self.proxy.url,
            "BIGQUERY_STORAGE_EMULATOR_HOST": self.storage,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }

    def close(self) -> None:
        self.proxy.close()
        self._process.terminate()
        self._process.wait()


def _reads_rows(path: str) -> bool:
    return "/data?" in path or "/queries/" in path
