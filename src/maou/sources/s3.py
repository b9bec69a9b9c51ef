"""Objects in AWS S3, or in a store that speaks its protocol (extra `aws`).

Credentials, region and endpoint come from boto3's default chain alone: environment,
shared files, instance role; AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL for other stores.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from maou.errors import RemoteError
from maou.sources.object_store import (
    CHUNK,
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    Checksum,
    MismatchError,
    Page,
    Purpose,
    RemoteObject,
    TransientError,
    fail,
    md5_of_hex,
    missing_extra,
)
from maou.sources.secrecy import cap_sdk_logs

_LOGIN = "Log in again (aws sso login, aws configure), or name a profile in AWS_PROFILE"


class S3DataSource:
    """One S3 bucket."""

    provider = "s3"
    purpose = Purpose("--input-s3")

    def __init__(self, bucket: str, connections: int) -> None:
        """Make a client; no request is sent.

        Raises:
            ConfigError: boto3 is not installed.
            RemoteError: the settings in the environment cannot be meant.
        """
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise missing_extra(self.purpose.flag, "aws") from error
        cap_sdk_logs()
        self.bucket = bucket
        config = Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            max_pool_connections=connections,
            retries={"total_max_attempts": 1},  # retries are ours, and go on mid-body
            # We send an MD5, which all stores know; not all know newer checksums.
            request_checksum_calculation="when_required",
        )
        with plain_errors(f"s3://{bucket}", self.purpose):
            self._client: Any = boto3.session.Session().client("s3", config=config)
        self._parts: dict[str, int] = {}  # sizes, by ETag

    def url(self, key: str) -> str:
        """Name an object for messages."""
        return f"s3://{self.bucket}/{key}"

    def page(self, prefix: str, rest: str) -> Page:
        """List up to 1,000 objects."""
        more = {"ContinuationToken": rest} if rest else {}
        with plain_errors(self.url(prefix), self.purpose):
            answer = self._client.list_objects_v2(
                Bucket=self.bucket, Prefix=prefix, **more
            )
            objects = [
                RemoteObject(item["Key"], item["Size"], item["ETag"])
                for item in answer.get("Contents", ())
            ]
            return Page(objects, answer.get("NextContinuationToken", ""))

    def read(
        self,
        item: RemoteObject,
        offset: int,
        write: Callable[[bytes], Any],
        end: int | None = None,
    ) -> Checksum | None:
        """Read in one request; boto3 checks the checksums that it knows of itself."""
        asked = {"ChecksumMode": "ENABLED"}
        if offset or end is not None:
            asked = {"Range": f"bytes={offset}-{'' if end is None else end - 1}"}
        with plain_errors(self.url(item.key), self.purpose, reading=True):
            answer = self._client.get_object(
                Bucket=self.bucket, Key=item.key, IfMatch=item.version, **asked
            )
            body = answer["Body"]
            with contextlib.closing(body):
                for chunk in body.iter_chunks(CHUNK):
                    write(chunk)
        encrypted = answer.get("ServerSideEncryption", "").startswith("aws:")
        if encrypted or answer.get("SSECustomerAlgorithm"):
            return None  # then the ETag is no MD5
        digest, _, parts = answer["ETag"].strip('"').partition("-")
        checksum = md5_of_hex(digest)
        if checksum is None or not parts:
            return checksum
        part = self._part_of(item)
        fits = part and parts == str(-(-item.size // part))
        return dataclasses.replace(checksum, part=part) if fits else None

    def _part_of(self, item: RemoteObject) -> int:
        """Give the size of the first part of an object that was uploaded in parts.

        The others are as large with all uploaders that we know, and the last is what
        is left. 0 where the store does not tell it.
        """
        from botocore.exceptions import ClientError

        if item.version not in self._parts:
            with plain_errors(self.url(item.key), self.purpose, reading=True):
                try:
                    answer = self._client.head_object(
                        Bucket=self.bucket, Key=item.key, PartNumber=1
                    )
                    self._parts[item.version] = int(answer["ContentLength"])
                except ClientError as error:
                    status: Any = error.response.get("ResponseMetadata", {})
                    if status.get("HTTPStatusCode") not in {400, 416, 501}:
                        raise
                    self._parts[item.version] = 0
        return self._parts[item.version]


@contextlib.contextmanager
def plain_errors(
    where: str, purpose: Purpose, *, reading: bool = False
) -> Iterator[None]:
    """Turn what boto3 raises into the exceptions of `object_store`."""
    import botocore.exceptions as of_botocore
    from urllib3.exceptions import HTTPError

    try:
        yield
    except of_botocore.ClientError as error:
        answer: Any = error.response
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        fail(
            where,
            status,
            answer.get("Error", {}).get("Code", ""),
            _LOGIN,
            purpose,
            reading=reading,
        )
    except of_botocore.FlexibleChecksumError:
        raise MismatchError("the checksum does not match") from None
    except (
        of_botocore.NoCredentialsError,
        of_botocore.PartialCredentialsError,
        of_botocore.CredentialRetrievalError,
        of_botocore.TokenRetrievalError,
        of_botocore.ProfileNotFound,
    ) as error:
        raise RemoteError(
            f"{where}: no usable AWS credentials ({type(error).__name__}). {_LOGIN}"
        ) from None
    except (
        of_botocore.ConnectionError,
        of_botocore.HTTPClientError,
        of_botocore.ResponseStreamingError,
        of_botocore.IncompleteReadError,
        HTTPError,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise TransientError(type(error).__name__) from None
    except (of_botocore.BotoCoreError, ValueError) as error:
        raise RemoteError(
            f"{where}: boto3 cannot send the request ({type(error).__name__}); check "
            "the bucket's name, the region and AWS_ENDPOINT_URL"
        ) from None
