"""What a store does for a mirror: take an object whole, list, and remove.

Takes no decision about retries: `sending` does that.
"""

import importlib
from collections.abc import Callable
from typing import Protocol

from maou.publish.payload import Payload
from maou.sources.config import GCS, S3
from maou.sources.object_store import Page, RemoteObject, missing_extra

PART = 16 << 20
"""Bytes that are sent at a time: a larger object goes in parts, and appears at the end.

A multiple of 256 KiB, as Google wants; more than the 5 MiB that S3 wants; and 10,000
parts, the most that S3 takes, are 167 GB."""


class Upload(Protocol):
    """An object on its way into a store."""

    sent: int
    """Bytes that the store is known to have."""

    def go_on(self) -> RemoteObject:
        """Send what the store lacks. After a failure it may be called again.

        Returns:
            The object, which is visible now as a whole.

        Raises:
            TransientError: try again.
            ExistsError: it was to be made only if there was none.
            RemoteError: trying again will not help.
        """


class Target(Protocol):
    """A bucket to write to."""

    provider: str
    bucket: str
    checksum: str
    """The kind of checksum that goes with an object."""

    def url(self, key: str) -> str:
        """Name an object for messages."""

    def page(self, prefix: str, rest: str) -> Page:
        """List objects, as `ObjectStore.page` does."""

    def begin(
        self,
        key: str,
        payload: Payload,
        *,
        fresh: bool = False,
        started: str = "",
        starting: Callable[[str], None] = lambda _: None,
    ) -> Upload:
        """Begin an upload; nothing is sent yet.

        Args:
            key: the object's name.
            payload: its bytes.
            fresh: whether to make it only if there is none.
            started: what an earlier process was told by `starting`, to go on with it.
            starting: called with a name for the upload, where it can be gone on with.
        """

    def is_same(self, item: RemoteObject, payload: Payload) -> bool:
        """Tell whether a listed object surely holds these bytes."""

    def get(self, key: str) -> bytes | None:
        """Read a small object; None where there is none.

        Raises:
            TransientError, RemoteError: as `ObjectStore.read`.
        """

    def remove(self, key: str) -> None:
        """Remove an object, if it is there.

        Raises:
            TransientError, RemoteError: as `Upload.go_on`.
        """


def _s3(bucket: str) -> Target:
    from maou.publish.s3 import S3Target

    return S3Target(bucket)


def _gcs(bucket: str) -> Target:
    from maou.publish.gcs import GCSTarget

    return GCSTarget(bucket)


TARGETS: dict[str, Callable[[str], Target]] = {GCS: _gcs, S3: _s3}
"""Opens a bucket of each provider for one thread."""

_EXTRAS = {GCS: ("google.cloud.storage", "gcp"), S3: ("boto3", "aws")}


def require_extra(provider: str) -> None:
    """Import a provider's SDK.

    Raises:
        ConfigError: it is not installed; the message has the install line.
    """
    module, extra = _EXTRAS[provider]
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise missing_extra(f"--output-{provider}", extra) from error
