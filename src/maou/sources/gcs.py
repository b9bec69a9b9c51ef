"""Objects in Google Cloud Storage (extra `gcp`).

Credentials come from Google's application default chain alone: environment, gcloud,
service account; STORAGE_EMULATOR_HOST names an emulator.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from maou.errors import RemoteError
from maou.sources.object_store import (
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    Checksum,
    Page,
    Purpose,
    RemoteObject,
    TransientError,
    fail,
    missing_extra,
)
from maou.sources.secrecy import cap_sdk_logs

_LOGIN = (
    "Log in again (gcloud auth application-default login), or name a service account's "
    "file in GOOGLE_APPLICATION_CREDENTIALS"
)
_FIELDS = "items(name,size,generation,crc32c,md5Hash),nextPageToken"
TIMEOUT = (CONNECT_TIMEOUT, READ_TIMEOUT)


class GCSDataSource:
    """One bucket of Google Cloud Storage."""

    provider = "gcs"
    purpose = Purpose("--input-gcs")

    def __init__(self, bucket: str, connections: int) -> None:
        """Make a client; no request for the bucket is sent.

        Raises:
            ConfigError: google-cloud-storage is not installed.
            RemoteError: there are no credentials.
        """
        try:
            from google.cloud import storage
            from requests.adapters import HTTPAdapter
        except ImportError as error:
            raise missing_extra(self.purpose.flag, "gcp") from error
        cap_sdk_logs()
        self.bucket = bucket
        with plain_errors(f"gs://{bucket}", self.purpose):
            # Reading a bucket needs no project; this name is how the SDK says so.
            self._client: Any = storage.Client(project="<none>")
            session = self._client._http  # the SDK has no setting for this
            for scheme in ("https://", "http://"):
                # One more: the SDK asks for the bucket's metadata beside.
                session.mount(scheme, HTTPAdapter(pool_maxsize=connections + 1))
            self._bucket = self._client.bucket(bucket)

    def url(self, key: str) -> str:
        """Name an object for messages."""
        return f"gs://{self.bucket}/{key}"

    def page(self, prefix: str, rest: str) -> Page:
        """List up to 1,000 objects."""
        with plain_errors(self.url(prefix), self.purpose):
            found = self._client.list_blobs(
                self._bucket,
                prefix=prefix,
                page_token=rest or None,
                page_size=1000,
                fields=_FIELDS,
                retry=None,
                timeout=TIMEOUT,
            )
            page: Any = next(found.pages, ())
            objects = [
                RemoteObject(
                    blob.name, blob.size, str(blob.generation), checksum_of(blob)
                )
                for blob in page
            ]
            return Page(objects, found.next_page_token or "")

    def read(
        self,
        item: RemoteObject,
        offset: int,
        write: Callable[[bytes], Any],
        end: int | None = None,
    ) -> Checksum | None:
        """Read in one request, as stored (nothing is decompressed)."""
        with plain_errors(self.url(item.key), self.purpose, reading=True):
            # The listed generation, also where the bucket keeps older ones.
            blob = self._bucket.blob(item.key, generation=int(item.version))
            blob.download_to_file(
                _Sink(write),
                start=offset or None,
                end=None if end is None else end - 1,
                raw_download=True,
                checksum=None,  # of a resumed read only we can tell
                retry=None,
                timeout=TIMEOUT,
            )
        return item.checksum


class _Sink:
    """A file to write to, for the SDK."""

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        self.write = write


def checksum_of(blob: Any) -> Checksum | None:
    if blob.crc32c:
        return Checksum("crc32c", blob.crc32c)
    return Checksum("md5", blob.md5_hash) if blob.md5_hash else None


@contextlib.contextmanager
def plain_errors(
    where: str, purpose: Purpose, *, reading: bool = False
) -> Iterator[None]:
    """Turn what Google's SDK raises into the exceptions of `object_store`."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except GoogleAPICallError as error:
        status, code = int(error.code or 0), type(error).__name__
        fail(where, status, code, _LOGIN, purpose, reading=reading)
    except (
        TransportError,
        RequestException,
        HTTPError,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise TransientError(type(error).__name__) from None
    except GoogleAuthError as error:
        raise RemoteError(
            f"{where}: no usable Google credentials ({type(error).__name__}). {_LOGIN}"
        ) from None
    except ValueError as error:
        raise RemoteError(
            f"{where}: Google's SDK cannot send the request ({type(error).__name__}); "
            "check the bucket's name and STORAGE_EMULATOR_HOST"
        ) from None
