"""What Google's SDK raises when BigQuery is asked, in our own exceptions."""

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import pyarrow as pa

from maou.errors import RemoteError
from maou.sources.fetch import Retries
from maou.sources.object_store import TransientError

T = TypeVar("T")

LOGIN = (
    "Log in again (gcloud auth application-default login), or name a service account's "
    "file in GOOGLE_APPLICATION_CREDENTIALS"
)

_TRANSIENT = frozenset((408, 409, 429, 500, 502, 503, 504))
_TRANSIENT_REASONS = frozenset(
    ("rateLimitExceeded", "jobRateLimitExceeded", "backendError", "internalError")
)
_LASTING_REASONS = frozenset(("bytesBilledLimitExceeded", "quotaExceeded"))


@contextlib.contextmanager
def plain_errors(where: str) -> Iterator[None]:
    """Turn what the SDK raises into our exceptions.

    Only the status and short codes are shown: messages of a store may quote what was
    sent to it.

    Raises:
        TransientError: it may pass.
        RemoteError: trying again will not help.
    """
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except GoogleAPICallError as error:
        _fail(where, error)
    except pa.ArrowException as error:
        raise TransientError(f"rows that cannot be read ({_name(error)})") from None
    except (
        RetryError,
        TransportError,
        RequestException,
        HTTPError,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise TransientError(_name(error)) from None
    except GoogleAuthError as error:
        raise RemoteError(
            f"{where}: no usable Google credentials ({_name(error)}): there are none, "
            f"or they have expired. {LOGIN}"
        ) from None
    except AttributeError as error:
        if not _is_within_the_sdk(error):
            raise
        # It takes any server's answer for one of BigQuery's.
        raise TransientError("an answer that is not BigQuery's") from None
    except ValueError as error:
        raise RemoteError(
            f"{where}: Google's SDK cannot send the request ({_name(error)}); check "
            "the names and BIGQUERY_EMULATOR_HOST"
        ) from None


def _name(error: BaseException) -> str:
    return type(error).__name__


def _is_within_the_sdk(error: BaseException) -> bool:
    frames = list(traceback.walk_tb(error.__traceback__))
    return str(frames[-1][0].f_globals.get("__name__")).startswith("google.")


def _fail(where: str, error: Any) -> NoReturn:
    """Raise what an answer with an error means."""
    status = int(error.code or 0)
    reasons = [str(item.get("reason", "")) for item in _details(error)]
    said = ", ".join(
        dict.fromkeys((f"HTTP {status}", _name(error), *(r for r in reasons if r)))
    )
    lasting = _LASTING_REASONS.intersection(reasons)
    passing = _TRANSIENT_REASONS.intersection(reasons)
    if passing or (status in _TRANSIENT and not lasting):
        raise TransientError(said) from None
    if lasting:
        raise RemoteError(
            f"{where}: a limit of the project is used up ({said}); raise it or wait"
        ) from None
    if status in {401, 403, 501}:
        raise RemoteError(
            f"{where}: access denied ({said}); the credentials have expired, are wrong "
            f"or may not read here. {LOGIN}"
        ) from None
    if status == 404:
        raise RemoteError(
            f"{where}: not found ({said}); check --input-dataset-id (PROJECT.DATASET "
            "for a data set of another project) and --input-table-name"
        ) from None
    raise RemoteError(
        f"{where}: BigQuery refused the request ({said}); check the table, the "
        "project and this machine's clock"
    ) from None


def _details(error: Any) -> list[Any]:
    return [item for item in error.errors or () if isinstance(item, dict)]


def asked(where: str, retries: Retries, request: Callable[[], T]) -> T:
    """Send a request, again where that may help; give its answer.

    Raises:
        RemoteError: it failed every time, or for good.
    """
    reason = ""
    for failures in range(1, retries.attempts + 1):
        try:
            with plain_errors(where):
                return request()
        except TransientError as error:
            reason = str(error)
            if failures < retries.attempts:
                time.sleep(retries.wait(failures))
    raise retries.gave_up(where, reason)
