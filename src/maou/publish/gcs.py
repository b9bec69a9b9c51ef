"""Writing objects to Google Cloud Storage: one request, or a session."""

import io
from collections.abc import Callable
from typing import Any

from maou.publish.payload import Payload
from maou.publish.target import PART
from maou.sources.gcs import TIMEOUT, GCSDataSource, checksum_of, plain_errors
from maou.sources.object_store import (
    Checksum,
    ExistsError,
    MismatchError,
    Purpose,
    RemoteObject,
    TransientError,
)

_TYPE = "application/octet-stream"


class GCSTarget(GCSDataSource):
    """One bucket of Google Cloud Storage to write to."""

    purpose = Purpose("--output-gcs", "--gcs-bucket-name", "write")
    checksum = "crc32c"

    def __init__(self, bucket: str) -> None:
        """Make a client; no request for the bucket is sent.

        Raises:
            ConfigError: google-cloud-storage is not installed.
            RemoteError: there are no credentials.
        """
        super().__init__(bucket, 1)
        self.http: Any = self._client._http  # the SDK cannot go on with a session

    def begin(
        self,
        key: str,
        payload: Payload,
        *,
        fresh: bool = False,
        started: str = "",
        starting: Callable[[str], None] = lambda _: None,
    ) -> "_Put | _Session":
        """Begin an upload.

        Sessions end with the process: who knows a session's address may write to it,
        so it is kept nowhere.
        """
        condition = {"if_generation_match": 0} if fresh else {}
        if payload.size <= PART:
            return _Put(self, key, payload, condition)
        return _Session(self, key, payload)

    def blob(self, key: str, payload: Payload) -> Any:
        """Make the SDK's object, with the checksum that the store is to check."""
        blob = self._bucket.blob(key)
        blob.crc32c = payload.checksum.value
        return blob

    def is_same(self, item: RemoteObject, payload: Payload) -> bool:
        """Compare the size and the checksum."""
        return item.size == payload.size and item.checksum == payload.checksum

    def get(self, key: str) -> bytes | None:
        """Read a small object; None where there is none."""
        from google.api_core.exceptions import NotFound

        with plain_errors(self.url(key), self.purpose):
            try:
                blob = self._bucket.blob(key)
                return bytes(blob.download_as_bytes(retry=None, timeout=TIMEOUT))
            except NotFound:
                return None

    def remove(self, key: str) -> None:
        """Remove an object, if it is there."""
        from google.api_core.exceptions import NotFound

        with plain_errors(self.url(key), self.purpose):
            try:
                self._bucket.blob(key).delete(retry=None, timeout=TIMEOUT)
            except NotFound:
                return


class _Put:
    """An object in one request."""

    def __init__(
        self, to: GCSTarget, key: str, payload: Payload, condition: dict[str, int]
    ) -> None:
        self._to, self._key, self._payload = to, key, payload
        self._condition = condition
        self.sent = 0

    def go_on(self) -> RemoteObject:
        """Send it."""
        to, data = self._to, self._payload.read(0, PART)
        try:
            with plain_errors(to.url(self._key), to.purpose):
                blob = to.blob(self._key, self._payload)
                blob.upload_from_file(
                    io.BytesIO(data),
                    size=len(data),
                    content_type=_TYPE,
                    checksum=None,  # it is in the metadata already
                    retry=None,
                    timeout=TIMEOUT,
                    **self._condition,
                )
        except ExistsError:
            # Perhaps it is ours: the answer to an earlier try was lost.
            if to.get(self._key) != data:
                raise
            return RemoteObject(self._key, len(data), "", self._payload.checksum)
        return _received(self._key, self._payload, checksum_of(blob), blob)


class _Session:
    """An object in pieces, which becomes visible with the last."""

    def __init__(self, to: GCSTarget, key: str, payload: Payload) -> None:
        self._to, self._key, self._payload = to, key, payload
        self._address = ""
        self._unsure = False
        self.sent = 0

    def go_on(self) -> RemoteObject:
        """Send what is missing, beginning where the store says."""
        to, size = self._to, self._payload.size
        with plain_errors(to.url(self._key), to.purpose):
            if not self._address:
                blob = to.blob(self._key, self._payload)
                self._address = blob.create_resumable_upload_session(
                    content_type=_TYPE,
                    size=size,
                    checksum=None,
                    retry=None,
                    timeout=TIMEOUT,
                )
            done = self._put(b"", f"bytes */{size}") if self._unsure else None
            while done is None:
                data = self._payload.read(self.sent, PART)
                last = self.sent + len(data) - 1
                self._unsure = True  # until there is an answer
                done = self._put(data, f"bytes {self.sent}-{last}/{size}")
                self._unsure = False
        found = Checksum("crc32c", str(done.get("crc32c", "")))
        blob = to.blob(self._key, self._payload)
        blob._properties.update(done)
        return _received(self._key, self._payload, found, blob)

    def _put(self, data: bytes, place: str) -> dict[str, Any] | None:
        """Send a piece; give the finished object, or None where there is more to do."""
        from google.api_core import exceptions

        answer = self._to.http.put(
            self._address,
            data=data,
            headers={"Content-Range": place, "Content-Type": _TYPE},
            timeout=TIMEOUT,
            allow_redirects=False,
        )
        if answer.status_code in {200, 201}:
            self.sent = self._payload.size
            done: dict[str, Any] = answer.json()
            return done
        if answer.status_code == 308:
            known = answer.headers.get("Range")  # bytes=0-LAST; nothing known: none
            self.sent = int(known.rsplit("-", 1)[1]) + 1 if known else 0
            return None
        if answer.status_code in {404, 410}:  # the store has forgotten the session
            self._address, self._unsure, self.sent = "", False, 0
            raise TransientError(f"HTTP {answer.status_code}")
        of_google: Any = exceptions
        raise of_google.from_http_response(answer)


def _received(
    key: str, payload: Payload, found: Checksum | None, blob: Any
) -> RemoteObject:
    """Check what the store says that it holds now.

    Raises:
        MismatchError: it is something else.
    """
    if found is not None and found != payload.checksum:
        raise MismatchError("the checksum does not match")
    return RemoteObject(key, payload.size, str(blob.generation), found)
