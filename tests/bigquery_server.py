"""A BigQuery server on loopback: bqemulator, in the environment that make makes."""

import io
import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fault_proxy import FaultProxy
from maou.sources.bigquery_schema import Column
from storage_proxy import StorageProxy

ENVIRONMENT = Path(__file__).parents[1] / ".venv-bigquery"
PROJECT, DATASET = "test-project", "shogi"
START_SECONDS = 60


class BigQueryServer:
    """An emulator with one empty data set, and proxies before its two sides.

    Attributes:
        rest: where REST listens, as `host:port`.
        proxy: counts REST requests and lets some fail; a read asks for rows.
        storage: does the same before the Storage API.
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
            self.rest = listening["rest"]
        except queue.Empty:
            self._process.kill()
            raise AssertionError("bqemulator does not start") from None
        self.proxy = FaultProxy(self.rest, _reads_rows)
        self.storage = StorageProxy(listening["grpc"])
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

    def create(self, name: str, columns: Iterable[Column], **settings: object) -> Any:
        """Make an empty table of our columns; give it.

        Args:
            name: its name in the data set.
            columns: its columns.
            settings: attributes of the SDK's Table.
        """
        from google.cloud import bigquery

        fields = [bigquery.SchemaField.from_api_repr(c.as_field()) for c in columns]
        table = bigquery.Table(f"{PROJECT}.{DATASET}.{name}", schema=fields)
        for attribute, value in settings.items():
            setattr(table, attribute, value)
        return self.client().create_table(table)

    def append(self, name: str, rows: pa.Table) -> None:
        """Append rows to a table, by a load job."""
        from google.cloud import bigquery

        file = io.BytesIO()
        pq.write_table(rows, file)
        file.seek(0)
        config = bigquery.LoadJobConfig(source_format="PARQUET")
        where = f"{PROJECT}.{DATASET}.{name}"
        self.client().load_table_from_file(file, where, job_config=config).result()

    def environment(self) -> dict[str, str]:
        """Give the variables that lead to the proxy and to the Storage API."""
        return {
            "BIGQUERY_EMULATOR_HOST": self.proxy.url,
            "BIGQUERY_STORAGE_EMULATOR_HOST": self.storage.address,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }

    def reset(self) -> None:
        """Forget requests and faults."""
        self.proxy.reset()
        self.storage.reset()

    def close(self) -> None:
        self.proxy.close()
        self.storage.close()
        self._process.kill()  # it keeps nothing
        self._process.wait()


def _reads_rows(path: str) -> bool:
    return "/data?" in path or "/queries/" in path
