"""What goes wrong between a run and BigQuery: retried, or said once, cache intact."""

import http.server
import json
import threading
from pathlib import Path

import grpc
import pytest

from bigquery_server import DATASET
from bigquery_tables import all_rows, hcpe_table, opened
from fault_proxy import Fault
from maou.cli.main import run
from maou.errors import RemoteError
from maou.sources.bigquery_schema import HCPE_COLUMNS
from storage_proxy import StorageFault

ROWS = 1000
TINY = ("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8")
TINY += ("--epoch", "1", "--batch-size", "200", "--no-export-onnx")

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
DENIED = grpc.StatusCode.PERMISSION_DENIED


def _refusal(status: int, reason: str) -> Fault:
    error = {"code": status, "message": "canary", "errors": [{"reason": reason}]}
    return Fault(status=status, body=json.dumps({"error": error}).encode())


@pytest.fixture
def rows(selfplay_rows):
    return selfplay_rows[:ROWS]


@pytest.fixture
def table(bigquery, tmp_path, rows) -> str:
    name = tmp_path.name.replace("[", "_").replace("]", "_")
    bigquery.create(name, HCPE_COLUMNS[:6], clustering_fields=["id"])
    bigquery.append(name, hcpe_table(rows))
    bigquery.reset()
    return name


@pytest.fixture
def by_pages(monkeypatch):
    """Take the Storage API away: rows then come in pages of a query."""
    monkeypatch.delenv("BIGQUERY_STORAGE_EMULATOR_HOST")


def _is_whole(shards, rows) -> bool:
    found = sorted(row[:37].tobytes() for row in all_rows(shards))
    return found == sorted(row[:37].tobytes() for row in rows)


def _has_nothing_half_done(cache: Path) -> bool:
    return not list((cache / "partial").iterdir())


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=503),
        Fault(status=429),
        _refusal(403, "rateLimitExceeded"),
        Fault(status=403, body=b'{"error": "from a proxy"}'),
        Fault(kind="reset"),
        Fault(kind="truncate"),
        Fault(kind="slow"),
    ],
    ids=["500", "503", "429", "rate", "proxy", "reset", "truncate", "slow"],
)
def test_requests_are_repeated(table, bigquery, tmp_path, rows, by_pages, fault):
    bigquery.proxy.on_list[:] = [fault]  # what the table is
    bigquery.proxy.on_write[:] = [fault]  # the query
    bigquery.proxy.faults[:] = [fault, Fault(), fault, fault]
    shards = opened(table, tmp_path / "cache", input_batch_size=250)
    assert _is_whole(shards, rows)
    bigquery.reset()
    opened(table, tmp_path / "cache", input_batch_size=250)
    assert len(bigquery.proxy.requests) == 1


def test_one_error_when_nothing_helps(table, bigquery, tmp_path, rows, by_pages):
    bigquery.proxy.always = Fault(status=503)
    with pytest.raises(RemoteError, match="failed 4 times, the last time with: HTTP 5"):
        opened(table, tmp_path / "cache")
    assert _has_nothing_half_done(tmp_path / "cache")
    bigquery.reset()
    assert _is_whole(opened(table, tmp_path / "cache"), rows)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (_refusal(401, "authError"), "no usable Google credentials"),
        (_refusal(403, "accessDenied"), r"access denied \(HTTP 403.*accessDenied"),
        (_refusal(403, "quotaExceeded"), "a limit of the project is used up"),
        (_refusal(404, "notFound"), r"not found \(HTTP 404"),
        (_refusal(400, "invalid"), r"refused the request \(HTTP 400"),
    ],
)
@pytest.mark.parametrize("at", ["table", "query"])
def test_refusals_are_said_once(table, bigquery, tmp_path, by_pages, fault, says, at):
    waiting = bigquery.proxy.on_list if at == "table" else bigquery.proxy.on_write
    waiting.append(fault)
    with pytest.raises(RemoteError, match=says) as caught:
        opened(table, tmp_path / "cache")
    assert "canary" not in str(caught.value)
    assert len(bigquery.proxy.requests) == (1 if at == "table" else 2)


def test_the_rows_are_those_of_one_moment(
    table, bigquery, tmp_path, rows, selfplay_rows, by_pages
):
    """Rows that come between the question and the query are not seen."""

    def write() -> None:
        bigquery.append(table, hcpe_table(selfplay_rows[ROWS : ROWS + 5]))

    bigquery.proxy.on_write[:] = [Fault(before=write)]
    assert _is_whole(opened(table, tmp_path / "cache"), rows)
    again = opened(table, tmp_path / "cache")
    assert _is_whole(again, selfplay_rows[: ROWS + 5])


def test_other_rows_than_announced_are_refused(
    table, bigquery, tmp_path, rows, selfplay_rows
):
    """The emulator's Storage API knows no moments, so its rows do change."""

    def write() -> None:
        bigquery.append(table, hcpe_table(selfplay_rows[ROWS : ROWS + 5]))

    bigquery.storage.on_session[:] = [StorageFault(before=write)]
    with pytest.raises(RemoteError, match="1,005 rows came where 1,000 were announced"):
        opened(table, tmp_path / "cache")
    (session,) = bigquery.storage.sessions
    assert session.read_session.table_modifiers.snapshot_time is not None
    assert _has_nothing_half_done(tmp_path / "cache")
    again = opened(table, tmp_path / "cache")
    assert _is_whole(again, selfplay_rows[: ROWS + 5])


@pytest.mark.parametrize(
    "code",
    [UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED],
)
def test_a_stream_goes_on_where_it_broke_off(table, bigquery, tmp_path, rows, code):
    bigquery.storage.on_session[:] = [StorageFault(code)]
    bigquery.storage.on_read[:] = [
        StorageFault(code),
        StorageFault(code, rows=300),
        StorageFault(code),
        StorageFault(code, rows=200),
    ]
    shards = opened(table, tmp_path / "cache")
    assert _is_whole(shards, rows)
    assert [read.offset for read in bigquery.storage.reads] == [0, 0, 300, 300, 500]
    assert bigquery.proxy.reads == [], "nothing came by a query"


def test_a_stream_that_never_goes_on_is_one_error(table, bigquery, tmp_path, rows):
    bigquery.storage.on_read[:] = [StorageFault(UNAVAILABLE, rows=300)]
    bigquery.storage.always = StorageFault(UNAVAILABLE)
    with pytest.raises(RemoteError, match=r"failed 4 times.*HTTP 503"):
        opened(table, tmp_path / "cache")
    assert _has_nothing_half_done(tmp_path / "cache")
    bigquery.reset()
    bigquery.storage.on_read[:] = [StorageFault(DENIED, rows=300)]
    with pytest.raises(RemoteError, match=r"access denied \(HTTP 403"):
        opened(table, tmp_path / "cache")
    assert _has_nothing_half_done(tmp_path / "cache")
    assert _is_whole(opened(table, tmp_path / "cache"), rows)


@pytest.mark.parametrize(
    "faults",
    [
        [StorageFault(DENIED)],
        [StorageFault(grpc.StatusCode.UNIMPLEMENTED)],
        [StorageFault(UNAVAILABLE)] * 4,
    ],
    ids=["denied", "absent", "away"],
)
def test_a_query_takes_the_place_of_the_storage_api(
    table, bigquery, tmp_path, rows, faults, capfd
):
    bigquery.storage.on_session[:] = faults
    shards = opened(table, tmp_path / "cache")
    assert _is_whole(shards, rows)
    assert "1,000 fetched by pages of a query" in shards.origin
    assert len(bigquery.storage.sessions) == len(faults)


def test_a_fetch_goes_on_after_the_last_whole_page(table, bigquery, tmp_path, rows):
    cache, pages = tmp_path / "cache", {"input_clustering_key": "id"}
    pages["input_batch_size"] = 300
    bigquery.storage.on_session[:] = [StorageFault(), StorageFault()]
    bigquery.storage.on_read[:] = [StorageFault(), StorageFault(), StorageFault(DENIED)]
    with pytest.raises(RemoteError, match="access denied"):
        opened(table, cache, **pages)
    whole = [path.stat().st_mtime_ns for path in cache.glob("objects/*/*.feather")]
    assert len(whole) == 2
    (cache / "partial" / "left-behind").write_bytes(b"x")
    bigquery.reset()
    shards = opened(table, cache, **pages)
    assert _is_whole(shards, rows)
    assert len(bigquery.storage.sessions) == 2
    moments = {
        str(session.read_session.table_modifiers.snapshot_time)
        for session in bigquery.storage.sessions
    }
    assert len(moments) == 1
    assert "400 fetched by the Storage Read API, the others cached" in shards.origin
    assert _has_nothing_half_done(cache)


def test_a_damaged_answer_is_asked_for_again(table, bigquery, tmp_path, rows, by_pages):
    bigquery.proxy.faults[:] = [Fault(), Fault(status=200, body=b"{]")]
    assert _is_whole(opened(table, tmp_path / "cache"), rows)


class _Refusing(http.server.BaseHTTPRequestHandler):
    """A server of tokens that gives none."""

    def do_POST(self) -> None:
        body = b'{"error": "invalid_grant", "error_description": "canary expired"}'
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def account(tmp_path, monkeypatch) -> str:
    """Credentials of a service account that has expired; give its private key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - quick, and no secret
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    about = {
        "type": "service_account",
        "project_id": "test-project",
        "private_key_id": "canary-key-id",
        "private_key": text,
        "client_email": "canary@example.com",
        "client_id": "1",
        "token_uri": f"http://127.0.0.1:{server.server_port}/token",
    }
    file = tmp_path / "account.json"
    file.write_text(json.dumps(about))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    yield text
    server.shutdown()
    server.server_close()


def test_expired_credentials_are_one_error(account, tmp_path):
    with pytest.raises(RemoteError) as caught:
        opened("t", tmp_path / "cache")
    assert "no usable Google credentials (RefreshError)" in str(caught.value)
    assert "gcloud auth application-default login" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_no_credentials_and_no_project_are_said(tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(RemoteError, match="no usable Google credentials"):
        opened("t", tmp_path / "cache")
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:1")
    with pytest.raises(RemoteError, match="name it in GOOGLE_CLOUD_PROJECT"):
        opened("t", tmp_path / "cache")


def test_no_secret_is_written_or_said(
    table, bigquery, account, tmp_path, rows, monkeypatch, capfd
):
    """Every file and all output of a run, and of those that fail, with tracebacks."""
    monkeypatch.setenv("MAOU_TRACEBACK", "1")
    places = ("--model-dir", str(tmp_path / "m"), "--log-dir", str(tmp_path / "l"))
    named = ("--input-dataset-id", DATASET, "--input-local-cache-dir")
    flags = (*TINY, *places, *named, str(tmp_path / "cache"), "--input-table-name")
    assert run(["learn-model", *flags, table]) == 0
    bigquery.append(table, hcpe_table(rows[:1]))  # or all would be cached
    for at, fault in (
        ("on_list", _refusal(403, "accessDenied")),
        ("on_list", _refusal(404, "notFound")),
        ("on_write", _refusal(418, "other")),
    ):
        bigquery.reset()
        getattr(bigquery.proxy, at).append(fault)
        bigquery.storage.on_session[:] = [StorageFault(DENIED)]
        assert run(["learn-model", *flags, table]) == 1
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST")
    assert run(["learn-model", *flags, table]) == 1
    said = "".join(capfd.readouterr())
    assert said.count("Traceback") >= 4
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    files.remove(tmp_path / "account.json")
    assert {"run.toml", "state.json", "metrics.jsonl"} <= {path.name for path in files}
    for secret in ("canary", account.split("\n")[1]):
        assert secret not in said
        for path in files:
            assert secret.encode() not in path.read_bytes(), path
