"""No secret is written or said by any command that touches a store.

Secrets are planted wherever a user may have them; then every file and all output of
runs that succeed and of runs that fail is searched, with tracebacks and the debug logs
of the SDKs switched on.
"""

import base64
import io
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bigquery_server import DATASET
from bigquery_tables import hcpe_table
from cloud_stores import BUCKET
from fault_proxy import Fault
from maou.cli.main import run
from maou.sources.bigquery_schema import HCPE_COLUMNS
from maou.sources.fetch import Retries

DATA = Path(__file__).parents[1] / "data"
TINY = ("--gpu", "cpu", "--resnet-blocks", "1", "--resnet-channels", "8")
TINY += ("--batch-size", "50")
LOGGERS = ("", "boto3", "botocore.auth", "google", "google.auth", "requests", "urllib3")
PASSWORD = "canary-password"  # noqa: S105 - the point of it
USER_INFO = f"canary-user:{PASSWORD}@"


@pytest.fixture
def secrets(store, tmp_path_factory, monkeypatch) -> set[str]:
    """Plant secrets in every place that the SDKs read; give all of them."""
    return _plant(store, tmp_path_factory.mktemp("account"), monkeypatch)


def _plant(server, folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    account = {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "canary-private-key-id",
        "private_key": pem,
        "client_email": "canary@example.com",
        "client_id": "canary-client-id",
        "token_uri": f"{server.proxy.url}/token",
    }
    place = folder / "account.json"
    place.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(place))
    for name, value in server.environment().items():
        if value.startswith("http://"):
            monkeypatch.setenv(name, value.replace("http://", f"http://{USER_INFO}"))
    for scheme in ("http", "https"):
        proxy = f"http://canary-proxy:{PASSWORD}@127.0.0.1:1"
        monkeypatch.setenv(f"{scheme}_proxy", proxy)
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", proxy)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("no_grpc_proxy", "127.0.0.1")  # gRPC knows no asterisk
    monkeypatch.setenv("GOOGLE_SDK_PYTHON_LOGGING_SCOPE", "google")
    basic = base64.b64encode(USER_INFO[:-1].encode()).decode()
    return {"canary", basic, *pem.split("\n")[1:-2]}


@pytest.fixture
def said(monkeypatch, capfd) -> Iterator[io.StringIO]:
    """Have everything logged and every traceback shown; gather the logs."""
    monkeypatch.setenv("MAOU_TRACEBACK", "1")
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    levels = {name: logging.getLogger(name).level for name in (*LOGGERS, "numba")}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger("numba").setLevel(logging.INFO)  # it has much to say
    logging.getLogger().addHandler(handler)
    yield text
    logging.getLogger().removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def flags(store, tmp_path, selfplay_rows) -> dict[str, list[str]]:
    """Upload hcpe shards and a game; give the flags that name each."""
    for number in range(3):
        rows = selfplay_rows[150 * number : 150 * (number + 1)].tobytes()
        store.put(f"sets/{tmp_path.name}/{number}.hcpe", rows)
    game = (DATA / "games" / "WCSC28_L1_KAK_CRZ.csa").read_bytes()
    store.put(f"sets/{tmp_path.name}-games/1.csa", game)
    store.proxy.reset()
    place = (
        *(f"--input-{store.provider}", "--input-bucket-name", BUCKET),
        *("--input-prefix", "sets", "--input-local-cache-dir", str(tmp_path / "cache")),
    )
    return {
        name: [*place, "--input-data-name", name.replace("hcpe", tmp_path.name)]
        for name in ("hcpe", "hcpe-games")
    }


def _commands(tmp_path: Path, model: object) -> list[tuple[str, list[str]]]:
    """Every command that reads a store, and which data it reads."""

    def out(name: str) -> list[str]:
        return ["--output-dir", str(tmp_path / name)]

    utility = ("hcpe", "utility")
    words: list[tuple[str, ...]] = [
        ("hcpe-games", "hcpe-convert", "--workers", "0", *out("hcpe")),
        ("hcpe", "pre-process", "--workers", "1", *out("preprocess")),
        ("hcpe", "evaluate", "--gpu", "cpu", "--model", str(model)),
        (*utility, "check-data", "--json", str(tmp_path / "checked.json")),
        (*utility, "generate-stage2-data", "--workers", "0", *out("stage2")),
        (*utility, "benchmark-dataloader", "--workers", "0", "--seconds", "0.01"),
        (*utility, "benchmark-training", "--batches", "1", "--warm-up", "1", *TINY),
        (
            *("hcpe", "learn-model", "--epoch", "1", "--no-export-onnx", *TINY),
            *("--log-dir", str(tmp_path / "logs")),
            *("--model-dir", str(tmp_path / "models")),
        ),
    ]
    return [(data, list(rest)) for data, *rest in words]


def _require_none(secrets: set[str], said: str, tmp_path: Path) -> None:
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for secret in secrets:
        at = said.find(secret)
        assert at < 0, said[max(0, at - 200) : at + 100]
        for path in files:
            assert secret.encode() not in path.read_bytes(), path


def test_no_command_shows_a_secret(store, flags, secrets, said, tmp_path, capfd):
    models = tmp_path / "models"
    *others, learn = _commands(tmp_path, "none")
    assert run([*learn[1], *flags[learn[0]]]) == 0
    (model,) = models.iterdir()
    commands = _commands(tmp_path, model)
    for data, words in commands[:-1]:
        assert run([*words, *flags[data]]) == 0, words
    assert len(others) == len(commands) - 1
    status, body = store.expired()
    refused = Fault(status=status, body=body)
    for data, words in commands:
        store.proxy.on_list[:] = [refused] * 3
        assert run([*words, *flags[data]]) == 1, words
    written = capfd.readouterr()
    text = said.getvalue() + written.out + written.err
    assert text.count("Traceback") == len(commands)
    assert text.count("access denied") >= len(commands)
    names = {path.name for path in tmp_path.rglob("*")}
    assert {"run.toml", "state.json", "metrics.jsonl", "checked.json"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert {"hcpe-convert.json", "pre-process.json"} <= names
    _require_none(secrets, text, tmp_path)


@pytest.mark.parametrize("fault", ["refused", "reset", "no proxy", "no server"])
def test_no_failure_shows_a_secret(
    store, flags, secrets, said, tmp_path, capfd, monkeypatch, fault
):
    monkeypatch.setattr(Retries, "wait", lambda *_: 0.001)
    _, body = store.expired()
    if fault == "refused":
        store.proxy.on_list[:] = [Fault(status=418, body=body)] * 3
    elif fault == "reset":
        store.proxy.always = Fault(kind="reset")
    elif fault == "no proxy":
        monkeypatch.delenv("no_proxy")
    else:
        for name, value in store.environment().items():
            if value.startswith("http://"):
                monkeypatch.setenv(name, f"http://{USER_INFO}127.0.0.1:1")
    _, words = _commands(tmp_path, "none")[1]
    assert run([*words, *flags["hcpe"]]) == 1
    written = capfd.readouterr()
    text = said.getvalue() + written.out + written.err
    assert "Traceback" in text
    _require_none(secrets, text, tmp_path)


def test_no_table_shows_a_secret(
    bigquery, said, tmp_path_factory, tmp_path, capfd, monkeypatch, selfplay_rows
):
    bigquery.create(tmp_path.name, HCPE_COLUMNS[:6])
    bigquery.append(tmp_path.name, hcpe_table(selfplay_rows[:300]))
    secrets = _plant(bigquery, tmp_path_factory.mktemp("account"), monkeypatch)
    table = ("--input-dataset-id", DATASET, "--input-table-name", tmp_path.name)
    _, words = _commands(tmp_path, "none")[1]
    assert run([*words, *table]) == 0
    bigquery.proxy.reset()
    refused = json.dumps({"error": {"code": 403, "message": "canary"}}).encode()
    bigquery.proxy.on_list[:] = [Fault(status=403, body=refused)] * 3
    assert run([*words, *table]) == 1
    written = capfd.readouterr()
    text = said.getvalue() + written.out + written.err
    assert text.count("Traceback") == 1
    _require_none(secrets, text, tmp_path)


@pytest.mark.parametrize("source", ["bucket", "table"])
@pytest.mark.parametrize("cloud_server", ["gcs"], indirect=True)
def test_a_service_account_that_is_refused(
    store, flags, secrets, said, tmp_path, capfd, monkeypatch, source
):
    """Without an emulator the account asks for a token; the answer quotes the key."""
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    account = Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"])
    key = json.loads(account.read_text())["private_key"]
    body = json.dumps({"error": "invalid_grant", "error_description": key}).encode()
    store.proxy.on_write[:] = [Fault(status=400, body=body)] * 3
    _, words = _commands(tmp_path, "none")[1]
    table = ["--input-dataset-id", "shogi", "--input-table-name", "positions"]
    assert run([*words, *(flags["hcpe"] if source == "bucket" else table)]) == 1
    assert store.proxy.requests[-1].path == "/token"
    written = capfd.readouterr()
    text = said.getvalue() + written.out + written.err
    assert "no usable Google credentials (RefreshError)" in text
    _require_none(secrets, text, tmp_path)
