"""The Storage Read API of BigQuery: rows of a table as Arrow batches, in streams.

The SDK's own reader goes on after some errors, without a limit or a wait, and not after
others; here streams are read by single requests, with our retries.
"""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from maou.errors import RemoteError
from maou.sources.bigquery_errors import asked, plain_errors
from maou.sources.fetch import Retries
from maou.sources.object_store import READ_TIMEOUT, TransientError

STREAM_SECONDS = 2 * READ_TIMEOUT
"""After so long a stream is asked for anew, from the row where it was, so that one that
brings nothing more is noticed."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StorageReader:
    """Reads one table."""

    def __init__(
        self, path: str, project: str, credentials: Any, retries: Retries
    ) -> None:
        """Make a client; no request is sent.

        Args:
            path: the table's full name.
            project: who pays.
            credentials: Google's.
            retries: what to do when a request fails.

        Raises:
            ImportError: google-cloud-bigquery-storage is not installed.
            RemoteError: the emulator has no such API.
        """
        from google.cloud.bigquery_storage_v1.services import big_query_read

        self._path, self._project, self._retries = path, project, retries
        self._where = f"BigQuery {path}"
        made: Any = big_query_read.BigQueryReadClient
        if not os.environ.get("BIGQUERY_EMULATOR_HOST"):
            self._client = made(credentials=credentials)
            return
        import grpc

        host = os.environ.get("BIGQUERY_STORAGE_EMULATOR_HOST")
        if not host:
            raise RemoteError("BIGQUERY_STORAGE_EMULATOR_HOST is not set")
        unlimited = [("grpc.max_receive_message_length", -1)]  # as the SDK does
        channel = grpc.insecure_channel(host, unlimited)
        self._client = made(transport=made.get_transport_class()(channel=channel))

    def streams(
        self, restriction: str, columns: Sequence[str], snapshot: int | None, most: int
    ) -> list[Iterator[Any]]:
        """Ask for streams of rows; give an iterator of record batches for each.

        Args:
            restriction: what the rows have in common, in SQL; empty for all rows.
            columns: the columns to read.
            snapshot: the moment of which to read, microseconds since 1970; None for
                the present.
            most: how many streams there may be.

        Raises:
            RemoteError: there are none for us.
        """
        from google.cloud.bigquery_storage_v1 import types

        options: Any = types.ReadSession.TableReadOptions(
            selected_fields=list(columns), row_restriction=restriction
        )
        compression = types.ArrowSerializationOptions.CompressionCodec.LZ4_FRAME
        options.arrow_serialization_options.buffer_compression = compression
        project, dataset, name = self._path.rsplit(".", 2)
        wanted: Any = types.ReadSession(
            table=f"projects/{project}/datasets/{dataset}/tables/{name}",
            data_format=types.DataFormat.ARROW,
            read_options=options,
        )
        if snapshot is not None:
            moment = EPOCH + timedelta(microseconds=snapshot)
            wanted.table_modifiers.snapshot_time = moment
        session: Any = asked(
            self._where,
            self._retries,
            lambda: self._client.create_read_session(
                parent=f"projects/{self._project}",
                read_session=wanted,
                max_stream_count=most,
                retry=None,
                timeout=READ_TIMEOUT,
            ),
        )
        if not session.streams:
            return []
        serialized = session.arrow_schema.serialized_schema
        schema = pa.ipc.read_schema(pa.py_buffer(serialized))
        return [self._read(schema, stream.name) for stream in session.streams]

    def _read(self, schema: Any, name: str) -> Iterator[Any]:
        """Read a stream to its end, going on at the row where it broke off."""
        done, failures = 0, 0
        while True:
            begin = done
            try:
                with plain_errors(self._where):
                    for answer in self._client.read_rows(
                        read_stream=name,
                        offset=done,
                        retry=None,
                        timeout=STREAM_SECONDS,
                    ):
                        data = answer.arrow_record_batch.serialized_record_batch
                        batch = pa.ipc.read_record_batch(pa.py_buffer(data), schema)
                        done += batch.num_rows
                        yield batch
            except TransientError as error:
                failures = 1 if done > begin else failures + 1
                if failures >= self._retries.attempts:
                    raise self._retries.gave_up(self._where, error) from None
                time.sleep(self._retries.wait(failures))
            else:
                return
