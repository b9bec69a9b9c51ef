"""Writing objects to S3: one request for a small one, parts for a large one."""

import base64
import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from maou.publish.payload import Payload
from maou.publish.target import PART
from maou.sources.object_store import (
    Checksum,
    ExistsError,
    MismatchError,
    Purpose,
    RemoteObject,
    TransientError,
    md5_of_hex,
)
from maou.sources.s3 import S3DataSource, plain_errors


class S3Target(S3DataSource):
    """One S3 bucket to write to."""

    purpose = Purpose("--output-s3", "--s3-bucket-name", "write")
    checksum = "md5"

    def __init__(self, bucket: str) -> None:
        """Make a client; no request is sent.

        Raises:
            ConfigError: boto3 is not installed.
            RemoteError: the settings in the environment cannot be meant.
        """
        super().__init__(bucket, 1)
        self.client: Any = self._client

    def begin(
        self,
        key: str,
        payload: Payload,
        *,
        fresh: bool = False,
        started: str = "",
        starting: Callable[[str], None] = lambda _: None,
    ) -> "_Put | _Parts":
        """Begin an upload, or go on with one that an earlier process started."""
        if payload.size <= PART:
            return _Put(self, key, payload, fresh)
        return _Parts(self, key, payload, started, starting)

    def is_same(self, item: RemoteObject, payload: Payload) -> bool:
        """Compare the size, and the MD5 that the ETag holds where it holds one."""
        if item.size != payload.size:
            return False
        etag = item.version.strip('"')
        if "-" in etag:
            return etag == _etag_of_parts(payload)
        return md5_of_hex(etag) == payload.checksum

    def get(self, key: str) -> bytes | None:
        """Read a small object; None where there is none."""
        with self.errors(key):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=key)
                return bytes(answer["Body"].read())
            except self.client.exceptions.NoSuchKey:
                return None

    def remove(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self.errors(key):
            self.client.delete_object(Bucket=self.bucket, Key=key)

    @contextlib.contextmanager
    def errors(self, key: str) -> Iterator[None]:
        """Turn what boto3 raises about a key into our exceptions."""
        from botocore.exceptions import ClientError

        with plain_errors(self.url(key), self.purpose):
            try:
                yield
            except ClientError as error:
                answer: Any = error.response
                code = answer.get("Error", {}).get("Code", "")
                if code in {"BadDigest", "InvalidDigest", "IncompleteBody"}:
                    raise MismatchError("the checksum does not match") from None
                if code == "NoSuchUpload":
                    raise _GoneError(code) from None
                if code == "ConditionalRequestConflict":
                    raise TransientError(code) from None
                raise


class _GoneError(TransientError):
    """An upload in parts that the store has forgotten."""


class _Put:
    """An object in one request."""

    def __init__(self, to: S3Target, key: str, payload: Payload, fresh: bool) -> None:
        self._to, self._key, self._payload = to, key, payload
        self._condition = {"IfNoneMatch": "*"} if fresh else {}
        self.sent = 0

    def go_on(self) -> RemoteObject:
        """Send it."""
        to, data = self._to, self._payload.read(0, PART)
        try:
            with to.errors(self._key):
                answer = to.client.put_object(
                    Bucket=to.bucket,
                    Key=self._key,
                    Body=data,
                    ContentMD5=self._payload.checksum.value,
                    **self._condition,
                )
        except ExistsError:
            # Perhaps it is ours: the answer to an earlier try was lost.
            if not self._condition or to.get(self._key) != data:
                raise
            return RemoteObject(self._key, len(data), "", self._payload.checksum)
        _check(answer, self._payload.checksum)
        self.sent = len(data)
        return RemoteObject(self._key, len(data), answer["ETag"])


class _Parts:
    """An object in parts, which stay in the store when a process is killed."""

    def __init__(
        self,
        to: S3Target,
        key: str,
        payload: Payload,
        started: str,
        starting: Callable[[str], None],
    ) -> None:
        self._to, self._key, self._payload = to, key, payload
        self._upload, self._starting = started, starting
        self._tags: dict[int, str] = {}
        self._known = not started
        self.sent = 0

    def go_on(self) -> RemoteObject:
        """Send the parts that are missing, and join them."""
        try:
            return self._go_on()
        except _GoneError:
            # Perhaps it is complete: the answer to an earlier try was lost.
            for item in self._to.page(self._key, "").objects:
                if item.key == self._key and self._to.is_same(item, self._payload):
                    return item
            self._upload, self._tags, self.sent = "", {}, 0
            self._known = True
            raise

    def _go_on(self) -> RemoteObject:
        to, about = self._to, {"Bucket": self._to.bucket, "Key": self._key}
        with to.errors(self._key):
            if not self._upload:
                self._upload = to.client.create_multipart_upload(**about)["UploadId"]
                self._starting(self._upload)
            about["UploadId"] = self._upload
            if not self._known:
                self._find_parts(about)
            for number, begin in enumerate(range(0, self._payload.size, PART), 1):
                if number not in self._tags:
                    data = self._payload.read(begin, PART)
                    self._send_part(about, number, data)
                    self.sent += len(data)
            parts = [
                {"PartNumber": n, "ETag": t} for n, t in sorted(self._tags.items())
            ]
            answer = to.client.complete_multipart_upload(
                **about, MultipartUpload={"Parts": parts}
            )
        return RemoteObject(self._key, self._payload.size, answer["ETag"])

    def _send_part(self, about: dict[str, str], number: int, data: bytes) -> None:
        digest = hashlib.md5(data, usedforsecurity=False).digest()
        md5 = base64.b64encode(digest).decode()
        answer = self._to.client.upload_part(
            **about, PartNumber=number, Body=data, ContentMD5=md5
        )
        _check(answer, Checksum("md5", md5))
        self._tags[number] = answer["ETag"]

    def _find_parts(self, about: dict[str, str]) -> None:
        """Take over the parts that an earlier process sent, where they are right."""
        for page in self._to.client.get_paginator("list_parts").paginate(**about):
            for part in page.get("Parts", ()):
                number = part["PartNumber"]
                data = self._payload.read((number - 1) * PART, PART)
                digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
                if part["ETag"].strip('"') == digest:
                    self._tags[number] = part["ETag"]
                    self.sent += len(data)
        self._known = True


def _check(answer: dict[str, Any], sent: Checksum) -> None:
    """Compare what a store says that it holds now with what was sent.

    It was told the checksum and ought to have refused other bytes.

    Raises:
        MismatchError: it is something else.
    """
    encrypted = answer.get("ServerSideEncryption", "").startswith("aws:")
    if encrypted or answer.get("SSECustomerAlgorithm"):
        return  # then the ETag is no MD5
    found = md5_of_hex(answer["ETag"].strip('"'))
    if found is not None and found != sent:
        raise MismatchError("the checksum does not match")


def _etag_of_parts(payload: Payload) -> str:
    """Give the ETag that S3 makes of an object in parts: a hash of their MD5s."""
    digests = [
        hashlib.md5(payload.read(begin, PART), usedforsecurity=False).digest()
        for begin in range(0, payload.size, PART)
    ]
    joined = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
    return f"{joined}-{len(digests)}"
