"""Fetching a table of BigQuery: rows per second and peak memory, each in a process.

Starts the emulator of the tests (make .venv-bigquery/.ready), fills a table with
shuffled hcpe rows, and fetches it as learn-model does: by the Storage Read API, by
pages of a query, in pages by date, and again from the cache. Beside them stands what
the SDK does when it is asked for the whole table. The emulator takes much of the time:
on these figures only the ratios and the memory say something.

    python benchmarks/bigquery_source.py [HCPE_FILE] [--rows N]
"""

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import report

ROOT = Path(__file__).parent.parent
DEFAULT = ROOT / "tests" / "data" / "selfplay.hcpe"
SDK = "the SDK's to_arrow()"
WAYS = {
    "Storage Read API": [],
    "the same, a second start": [],
    "Storage Read API, pages by date": ["--dates"],
    "pages of a query": ["--by-pages"],
    SDK: ["--sdk"],
}


def main() -> None:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=DEFAULT)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    for flag in ("--dates", "--by-pages", "--sdk"):
        parser.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(child(options)))
        return
    sys.path.insert(0, str(ROOT / "tests"))
    server = importlib.import_module("bigquery_server").BigQueryServer()
    try:
        fill(server, options.file, options.rows)
        results = measure(server, options.rows)
    finally:
        server.close()
    rows = [
        [
            way,
            f"{options.rows / result['seconds']:,.0f}",
            f"{result['peak_mb'] - result['before_mb']:,.0f}",
        ]
        for way, result in results.items()
    ]
    report.show(["way", "rows/s", "MB above the process without rows"], rows)
    report.finish("bigquery_source", {"rows": options.rows, "ways": results})


def fill(server: Any, file: Path, rows: int) -> None:
    """Make the table: the file's rows over and over, in any order, with ids."""
    from google.cloud.bigquery import TimePartitioning

    tables = importlib.import_module("bigquery_tables")
    columns = importlib.import_module("maou.sources.bigquery_schema").HCPE_COLUMNS
    by_date = TimePartitioning(field="partitioningKey")
    server.create("positions", columns[:6], time_partitioning=by_date)
    raw = np.fromfile(file, dtype=np.uint8).reshape(-1, 38)
    random = np.random.default_rng(0)
    for begin in range(0, rows, 100_000):
        numbers = np.arange(begin, min(begin + 100_000, rows))
        table = tables.hcpe_table(raw[numbers % len(raw)], begin)
        server.append("positions", table.take(random.permutation(len(numbers))))


def measure(server: Any, rows: int) -> dict[str, dict[str, float]]:
    """Fetch in every way, past the proxies of the tests."""
    environment = {
        **os.environ,
        **server.environment(),
        "BIGQUERY_EMULATOR_HOST": f"http://{server.rest}",
        "BIGQUERY_STORAGE_EMULATOR_HOST": server.storage.upstream,
    }
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (way, flags) in enumerate(WAYS.items()):
            cache = Path(folder) / str(max(0, number - 1))
            command = [sys.executable, __file__, "--child", str(cache), *flags]
            made = dict(environment)
            if "--by-pages" in flags:
                del made["BIGQUERY_STORAGE_EMULATOR_HOST"]
            done = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env=made
            )
            results[way] = json.loads(done.stdout.splitlines()[-1])
            assert results[way]["rows"] == rows
    return results


def child(options: argparse.Namespace) -> dict[str, float]:
    """Fetch the table in this process; give rows, time and memory."""
    import google.cloud.bigquery_storage_v1  # noqa: F401 - before it is measured

    from maou.sources.bigquery_shards import open_bigquery_shards
    from maou.sources.config import SourceConfig
    from maou.sources.local import hcpe_kind

    before, begin = _peak_mb(), time.perf_counter()
    if options.sdk:
        rows = _by_sdk()
    else:
        source = SourceConfig(
            input_dataset_id="shogi",
            input_table_name="positions",
            input_local_cache_dir=options.child,
            input_batch_size=100_000,
            input_partitioning_key_date="partitioningKey" if options.dates else None,
        )
        rows = open_bigquery_shards(source, hcpe_kind(), lambda _: None).rows
    taken = time.perf_counter() - begin
    return {
        "rows": rows,
        "seconds": taken,
        "before_mb": before,
        "peak_mb": _peak_mb(),
    }


def _by_sdk() -> int:
    import grpc
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery
    from google.cloud.bigquery_storage_v1 import BigQueryReadClient

    client: Any = bigquery.Client(
        os.environ["GOOGLE_CLOUD_PROJECT"], AnonymousCredentials()
    )
    host = os.environ["BIGQUERY_STORAGE_EMULATOR_HOST"]
    channel = grpc.insecure_channel(host, [("grpc.max_receive_message_length", -1)])
    transport = BigQueryReadClient.get_transport_class()(channel=channel)
    found = client.list_rows(
        client.get_table("shogi.positions"),
        selected_fields=client.get_table("shogi.positions").schema[:5],
    )
    reader = BigQueryReadClient(transport=transport)
    return int(found.to_arrow(bqstorage_client=reader).num_rows)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
