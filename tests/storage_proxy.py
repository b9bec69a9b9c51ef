"""A proxy in front of the Storage Read API: small messages, offsets, and failures.

The emulator sends 65,536 rows a message and knows no offsets; BigQuery does.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types

_SERVICE = "/google.cloud.bigquery.storage.v1.BigQueryRead/"


@dataclass
class StorageFault:
    """What happens to a request.

    Attributes:
        code: the status it ends with.
        rows: how many rows are sent before, where rows are read.
        before: called before the server is asked; without a code nothing else happens.
    """

    code: grpc.StatusCode | None = None
    rows: int = 0
    before: Callable[[], None] | None = None


@dataclass
class StorageProxy:
    """Forwards to a server on loopback.

    Attributes:
        upstream: the server, as `host:port`.
        piece_rows: rows of a message.
        on_session, on_read: what happens to the next requests, in order.
        always: what happens to all other requests for rows.
        sessions, reads: what was asked so far.
    """

    upstream: str
    piece_rows: int = 100
    on_session: list[StorageFault] = field(default_factory=list)
    on_read: list[StorageFault] = field(default_factory=list)
    always: StorageFault | None = None
    sessions: list[Any] = field(default_factory=list)
    reads: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._channel = grpc.insecure_channel(self.upstream)
        self._server = grpc.server(ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers((_Handler(self),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def reset(self) -> None:
        """Forget requests and faults."""
        for kept in (self.on_session, self.on_read, self.sessions, self.reads):
            kept.clear()
        self.always = None

    def close(self) -> None:
        self._server.stop(0)
        self._channel.close()

    def session(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.sessions.append(types.CreateReadSessionRequest.deserialize(request))
        fault = self.on_session.pop(0) if self.on_session else StorageFault()
        self._begin(fault, context)
        call = self._channel.unary_unary(f"{_SERVICE}CreateReadSession")
        return call(request, metadata=context.invocation_metadata())

    def read(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        asked = types.ReadRowsRequest.deserialize(request)
        self.reads.append(asked)
        fault = self.on_read.pop(0) if self.on_read else self.always or StorageFault()
        if not fault.rows:
            self._begin(fault, context)
        whole = types.ReadRowsRequest(read_stream=asked.read_stream)
        call = self._channel.unary_stream(f"{_SERVICE}ReadRows")
        sent, schema = 0, None
        answers = call(
            types.ReadRowsRequest.serialize(whole),
            metadata=context.invocation_metadata(),
        )
        skipped = asked.offset
        for answer in answers:
            message = types.ReadRowsResponse.deserialize(answer)
            if schema is None:
                serialized = message.arrow_schema.serialized_schema
                schema = pa.ipc.read_schema(pa.py_buffer(serialized))
            data = message.arrow_record_batch.serialized_record_batch
            batch = pa.ipc.read_record_batch(pa.py_buffer(data), schema)
            rest = batch.slice(min(skipped, batch.num_rows))
            skipped -= batch.num_rows - rest.num_rows
            for at in range(0, rest.num_rows, self.piece_rows):
                if fault.rows and sent >= fault.rows:
                    context.abort(fault.code, "canary")
                piece = rest.slice(at, self.piece_rows)
                sent += piece.num_rows
                yield _message(piece)

    def _begin(self, fault: StorageFault, context: grpc.ServicerContext) -> None:
        if fault.before is not None:
            fault.before()
        if fault.code is not None:
            context.abort(fault.code, "canary")


def _message(batch: pa.RecordBatch) -> bytes:
    # A slice is written with only its own rows.
    data = batch.serialize().to_pybytes()
    made = types.ReadRowsResponse(
        row_count=batch.num_rows,
        arrow_record_batch=types.ArrowRecordBatch(serialized_record_batch=data),
    )
    return types.ReadRowsResponse.serialize(made)


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, proxy: StorageProxy) -> None:
        self._proxy = proxy

    def service(self, details: Any) -> Any:
        if details.method == f"{_SERVICE}CreateReadSession":
            return grpc.unary_unary_rpc_method_handler(self._proxy.session)
        return grpc.unary_stream_rpc_method_handler(self._proxy.read)
