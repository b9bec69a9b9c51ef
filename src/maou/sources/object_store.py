"""What a store of objects does for us: list them, and read one from some byte on.

Takes no decision about retries or files: `fetch` does that. The classes for each
provider import their SDK when they are made, and say everything in the exceptions here.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol

from maou.errors import ConfigError, RemoteError

CHUNK = 1 << 16
"""Bytes passed on at a time; at most so many are fetched twice when a read breaks."""

CONNECT_TIMEOUT, READ_TIMEOUT = 10, 60
"""Seconds without an answer after which a request is given up, to be tried again."""

_TRANSIENT = frozenset((408, 429, 500, 502, 503, 504))


class TransientError(Exception):
    """A request that failed in a way that may pass: try again."""


class MismatchError(TransientError):
    """The bytes are not those that the store promised: fetch all of them again."""


@dataclass(frozen=True)
class Checksum:
    """What a whole object's bytes hash to.

    Attributes:
        kind: `md5` or `crc32c`.
        value: the digest in base64, as the stores write it.
        part: if not 0, the digest is of the digests of parts of so many bytes.
    """

    kind: str
    value: str
    part: int = 0

    def matches(self, path: Path) -> bool:
        """Tell whether a file's bytes hash to it."""
        size = path.stat().st_size
        digest = new_digest(self.kind)
        with path.open("rb") as stream:
            if self.part:
                for _ in range(0, size, self.part):
                    one = new_digest(self.kind)
                    _hash(stream, self.part, one)
                    digest.update(one.digest())
            else:
                _hash(stream, size, digest)
        return Checksum.of(self.kind, digest).value == self.value

    @classmethod
    def of(cls, kind: str, digest: Any) -> "Checksum":
        """Make it of what `new_digest` gave, when it has seen all bytes."""
        return cls(kind, base64.b64encode(digest.digest()).decode())


def _hash(stream: BinaryIO, count: int, digest: Any) -> None:
    """Take up to so many bytes of a stream into a digest."""
    while count > 0 and (chunk := stream.read(min(CHUNK, count))):
        digest.update(chunk)
        count -= len(chunk)


def new_digest(kind: str) -> Any:
    """Give an object that takes bytes (`update`) and hashes them (`digest`)."""
    if kind == "md5":
        return hashlib.md5(usedforsecurity=False)
    import google_crc32c  # comes with the extra gcp; only Google's store uses it

    digest: Any = google_crc32c
    return digest.Checksum()


@dataclass(frozen=True)
class RemoteObject:
    """An object in a listing.

    Attributes:
        key: its name in the bucket.
        size: bytes.
        version: what changes with its content: the generation or the ETag.
        checksum: of its content, where the listing has one.
    """

    key: str
    size: int
    version: str
    checksum: Checksum | None = None


@dataclass(frozen=True)
class Page:
    """Some of a listing, and where the rest begins (empty: nowhere)."""

    objects: list[RemoteObject]
    rest: str


class ExistsError(Exception):
    """An object that was to be made only if there was none is there."""


class ObjectStore(Protocol):
    """A bucket."""

    provider: str
    bucket: str

    def url(self, key: str) -> str:
        """Name an object for messages."""

    def page(self, prefix: str, rest: str) -> Page:
        """List objects whose keys begin with `prefix`, from `rest` of the last page.

        Raises:
            TransientError: try again.
            RemoteError: trying again will not help.
        """

    def read(
        self,
        item: RemoteObject,
        offset: int,
        write: Callable[[bytes], Any],
        end: int | None = None,
    ) -> Checksum | None:
        """Pass the bytes from `offset` (to before `end`) on to `write`, in one request.

        Returns:
            The checksum of the whole object, where the store tells one.

        Raises:
            MismatchError: the bytes are wrong.
            TransientError: the answer broke off, or there was none.
            RemoteError: trying again will not help, for instance because the object
                is another than the listed one.
        """


def missing_extra(flag: str, extra: str) -> ConfigError:
    """Make the error about an SDK that is not installed."""
    return ConfigError(
        f"{flag}: needs the extra {extra}; install it with pip install 'maou[{extra}]' "
        f"or poetry install -E {extra}"
    )


@dataclass(frozen=True)
class Purpose:
    """What a store is used for, in messages.

    Attributes:
        flag: the flag that asks for the store.
        bucket_flag: the flag that names the bucket.
        verb: what is done there.
    """

    flag: str
    bucket_flag: str = "--input-bucket-name"
    verb: str = "read"


def fail(
    where: str,
    status: int,
    code: str,
    login: str,
    purpose: Purpose,
    *,
    reading: bool,
) -> NoReturn:
    """Raise what an answer with an error means.

    Only the status and the store's short code are shown: messages of a store may quote
    what was sent to it.

    Args:
        where: the bucket or object.
        status: the HTTP status.
        code: the store's code, such as `NoSuchBucket`, or the status in words.
        login: how to get valid credentials.
        purpose: what was tried.
        reading: whether an object was read that had been listed.

    Raises:
        TransientError: it may pass.
        ExistsError: the object to be made is there.
        RemoteError: it will not.
    """
    said = f"HTTP {status}, {code}" if code else f"HTTP {status}"
    expired = code in {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
    if status in {401, 403} or expired:
        raise RemoteError(
            f"{where}: access denied ({said}); the credentials have expired, are wrong "
            f"or may not {purpose.verb} here. {login}"
        ) from None
    if status in _TRANSIENT or code in {"SlowDown", "RequestTimeout"}:
        raise TransientError(said) from None
    if reading and status in {404, 412}:
        raise changed(where) from None
    if status == 412 and purpose.verb == "write":
        raise ExistsError(where) from None
    if status == 404:
        raise RemoteError(
            f"{where}: not found ({said}); there is no such bucket. Check "
            f"{purpose.bucket_flag}"
        ) from None
    raise RemoteError(
        f"{where}: the store refused the request ({said}); check "
        f"{purpose.bucket_flag}, the region and the endpoint"
    ) from None


def changed(where: str) -> RemoteError:
    """Make the error about an object that is no longer the listed one."""
    return RemoteError(
        f"{where}: was changed or removed between listing and reading; start again "
        "when nobody writes there"
    )


def md5_of_hex(text: str) -> Checksum | None:
    """Make a checksum of 32 hexadecimal digits; None where it is something else."""
    try:
        raw = binascii.unhexlify(text)
    except ValueError:
        return None
    return Checksum("md5", base64.b64encode(raw).decode()) if len(raw) == 16 else None


def iterate(pages: Callable[[str], Page]) -> Iterator[RemoteObject]:
    """Yield the objects of all pages.

    Args:
        pages: gives the page at a token; the first token is empty.
    """
    rest = ""
    while True:
        page = pages(rest)
        yield from page.objects
        rest = page.rest
        if not rest:
            return
