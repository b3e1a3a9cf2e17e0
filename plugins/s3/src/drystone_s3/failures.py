"""What goes wrong with a bucket: which failures pass, and what to say of the others."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from drystone.errors import ArtifactStoreError, DrystoneError
from drystone_s3.messages import BY_CODE, BY_ERROR, SILENCE, UNKNOWN

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

ABSENT = ("NoSuchKey", "NoSuchVersion", "404")
"""Codes of answers that there is no such object; to HEAD there is no code but the status."""


class TruncatedError(ConnectionError):
    """Fewer bytes arrived than were promised."""


def cause_of(exc: BaseException) -> Any:
    """What botocore raised, which s3fs may have translated."""
    cause = exc.__cause__
    return cause if cause is not None and hasattr(cause, "response") else exc


def answer_of(exc: BaseException) -> dict[str, Any]:
    """What a service answered; empty if it did not."""
    answer = getattr(cause_of(exc), "response", None)
    return answer if isinstance(answer, dict) else {}


def code_of(exc: BaseException) -> str:
    """The code in a service's answer, such as `NoSuchBucket`; empty if there was none."""
    return str(answer_of(exc).get("Error", {}).get("Code", ""))


def status_of(exc: BaseException) -> int:
    """The HTTP status of a service's answer; 0 if there was none."""
    return int(answer_of(exc).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_absence(exc: BaseException) -> bool:
    """Whether a service answered that there is no such object."""
    return status_of(exc) == 404 and code_of(exc) in ABSENT


def is_answered(exc: BaseException) -> bool:
    """Whether a service answered, if only that it could not."""
    return status_of(exc) > 0


def is_transient(exc: BaseException) -> bool:
    """Whether the same request may succeed if it is made again."""
    if is_answered(exc):
        status = status_of(exc)
        return code_of(exc) in TRANSIENT or status == 429 or (status >= 500 and status != 501)
    return is_silence(exc)


def is_silence(exc: BaseException) -> bool:
    """Whether nothing answered, or something broke on the way."""
    import aiohttp  # noqa: PLC0415 - s3fs, which is imported late, has imported them
    from botocore import exceptions  # noqa: PLC0415
    from botocore.parsers import ResponseParserError  # noqa: PLC0415

    broken = (exceptions.HTTPClientError, exceptions.ConnectionError, ResponseParserError, aiohttp.ClientError)
    return isinstance(exc, (*broken, ConnectionError, TimeoutError)) and not isinstance(exc, exceptions.SSLError)


@contextmanager
def translated(store: S3ArtifactStore, *, reading: bool = False) -> Iterator[None]:
    """What the library raises, as errors of Drystone that name the setting to look at.

    Raises:
        FileNotFoundError: Nothing is stored there, which whoever reads has to expect.
        FileExistsError: The key is taken.
        StoreAccessError, StoreUnreachableError, ArtifactStoreError: Anything else.
    """
    try:
        yield
    except (DrystoneError, FileExistsError):
        raise
    except Exception as exc:
        if reading and is_absence(exc):
            raise FileNotFoundError(errno.ENOENT, "Nothing is stored under this key", store.root) from exc
        if (
            type(exc).__module__ == "builtins"
            and isinstance(exc, OSError)
            and not (is_answered(exc) or is_silence(exc))
        ):
            raise  # it is about a file of this machine
        raise explained(exc, store) from exc


def explained(exc: BaseException, store: S3ArtifactStore) -> ArtifactStoreError:
    """What to say of a failure: what happened, and which setting to look at."""
    kind, said = _found(exc)
    answer = answer_of(exc).get("Error", {})
    code = answer.get("Code", "") if answer else type(exc).__name__
    places = {
        "bucket": store.bucket,
        "where": f" at {store.endpoint}" if store.endpoint else "",
        "endpoint": store.endpoint or "AWS",
        "region": store.region or "the one that AWS's tools would take",
        "profile": store.profile,
        "message": str(answer.get("Message") or _reason(exc) or exc).rstrip(". ") + ".",
        "reason": _reason(exc),
        "code": code,
        "status": status_of(exc),
    }
    return kind(f"{store.root}: {said.format_map(places).strip()} ({code})")


def _is_foreign(exc: BaseException) -> bool:
    return type(exc).__module__ != "builtins"


def _reason(exc: BaseException) -> str:
    """What the system said; not where, which the store says."""
    error = getattr(exc, "kwargs", {}).get("error")
    return str(getattr(error, "strerror", None) or "")


def _found(exc: BaseException) -> tuple[type[ArtifactStoreError], str]:
    if code_of(exc) in BY_CODE:
        return BY_CODE[code_of(exc)]
    for cls in type(exc).__mro__:
        if cls.__name__ in BY_ERROR and cls.__module__.startswith("botocore"):
            return BY_ERROR[cls.__name__]
    if is_answered(exc):
        return UNKNOWN
    return SILENCE if is_silence(exc) else (ArtifactStoreError, "it cannot be used: {message}")
