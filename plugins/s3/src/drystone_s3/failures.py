"""What goes wrong with a bucket: which failures pass, and what to say of the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from drystone.errors import ArtifactStoreError, DrystoneError, StoreAccessError, StoreUnreachableError

if TYPE_CHECKING:
    from drystone_s3.artifact_store import S3ArtifactStore

TRANSIENT = frozenset(
    {
        *("SlowDown", "RequestTimeout", "RequestTimeoutException", "Throttling", "ThrottlingException"),
        *("InternalError", "ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict"),
        *("XAmzContentSHA256Mismatch", "IncompleteBody", "BadDigest"),
    }
)
"""Codes of answers after which the same request may succeed."""


class TruncatedError(ConnectionError):
    """Fewer bytes arrived than were promised."""


def cause_of(exc: BaseException) -> Any:
    """What botocore raised, which s3fs may have translated."""
    cause = exc.__cause__
    return cause if cause is not None and hasattr(cause, "response") else exc


def code_of(exc: BaseException) -> str:
    """The code in a service's answer, such as `NoSuchBucket`; empty if there was none."""
    answer = getattr(cause_of(exc), "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def status_of(exc: BaseException) -> int:
    """The HTTP status of a service's answer; 0 if there was none."""
    answer = getattr(cause_of(exc), "response", None)
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) if isinstance(answer, dict) else 0


def is_answered(exc: BaseException) -> bool:
    """Whether a service answered, if only that it could not."""
    return status_of(exc) > 0


def is_transient(exc: BaseException) -> bool:
    """Whether the same request may succeed if it is made again."""
    if is_answered(exc):
        return code_of(exc) in TRANSIENT or status_of(exc) == 429 or (status_of(exc) >= 500 and status_of(exc) != 501)
    return is_network(exc)


def is_network(exc: BaseException) -> bool:
    """Whether something broke on the way."""
    import aiohttp  # noqa: PLC0415 - who asks has imported both already
    from botocore.exceptions import HTTPClientError, SSLError  # noqa: PLC0415
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    if isinstance(exc, SSLError):
        return False
    kinds = (HTTPClientError, ResponseParserError, aiohttp.ClientError, ConnectionError, TimeoutError)
    return isinstance(exc, kinds)


@contextmanager
def translated(store: S3ArtifactStore) -> Iterator[None]:
    """What the library raises, as errors of Drystone that name the setting to look at."""
    try:
        yield
    except (DrystoneError, FileExistsError, ValueError):
        raise
    except FileNotFoundError as exc:
        if code_of(exc) == "NoSuchBucket":
            raise ArtifactStoreError(f"The bucket of {store.root} does not exist.") from exc
        raise
    except Exception as exc:
        if status_of(exc) in (401, 403):
            raise StoreAccessError(f"{store.root} refuses this: {exc}.") from exc
        if is_network(exc):
            raise StoreUnreachableError(f"{store.root} does not answer: {exc}.") from exc
        raise ArtifactStoreError(f"{store.root} cannot be used: {exc}.") from exc
