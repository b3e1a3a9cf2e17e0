"""What goes wrong with a container engine, as errors of Drystone that say what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from drystone.errors import DrystoneError, EngineAccessError, EngineError, EngineUnreachableError, ImageNotFoundError

if TYPE_CHECKING:
    from drystone_docker.addresses import Address

START = "Start it: `sudo systemctl start docker`, or Docker Desktop. `docker info` tells whether it runs."

DENIED = (
    "You may not use the container engine at {url}: its socket is closed to you. Become a member of its group "
    "(`sudo usermod -aG docker $USER`, then log in again), or run an engine of your own: "
    "`dockerd-rootless-setuptool.sh install`."
)

ANSWERS: tuple[tuple[str, type[EngineError], str], ...] = (
    (
        "no space left on device",
        EngineError,
        "The disk of the container engine at {url} is full. `docker system df` shows what takes the space, and "
        "`docker system prune` removes what nothing uses.",
    ),
    (
        "could not select device driver.*gpu",
        EngineError,
        "The container engine at {url} has no GPUs to give. Install the NVIDIA Container Toolkit on its machine and "
        "restart it, or run without gpus=.",
    ),
    (
        "bind source path does not exist",
        EngineError,
        "The container engine at {url} does not see files of this machine: it runs elsewhere, or the driver is in a "
        "container itself. Use an artifact store that both reach, and leave volumes= to paths of the engine's machine.",
    ),
    (
        "network .* not found",
        EngineError,
        "The container engine at {url} has no such network. `docker network ls` lists them, `docker network create` "
        "makes one.",
    ),
    (
        "unable to find user|no matching entries in passwd",
        EngineError,
        'The image has no such user. Give user= as numbers, like "1000:1000".',
    ),
    (
        "client version .* is too (old|new)|api version",
        EngineError,
        "The container engine at {url} speaks another version of Docker's API than the package `docker` here. Bring "
        "the older of the two up to date.",
    ),
    (
        "image with reference .* platform|does not match the specified platform|no matching manifest",
        EngineError,
        "The image is not for this platform. Set platform= to one that it is for, or take another base_image.",
    ),
    (
        "minimum memory limit allowed",
        EngineError,
        "A container needs more memory than that: give it at least 6MiB, and Python some 64MiB.",
    ),
)
"""What to say of what an engine answers: a pattern, the class of the error, and words."""


@contextmanager
def translated(address: Address, doing: str = "") -> Iterator[None]:
    """What docker-py and what is below it raise, as errors of Drystone.

    Args:
        address: The engine's.
        doing: What failed, as in "start the container".

    Raises:
        EngineAccessError, EngineUnreachableError, ImageNotFoundError, EngineError: By what happened.
    """
    try:
        yield
    except DrystoneError:
        raise
    except Exception as exc:
        if not _is_about_engines(exc):
            raise
        raise explained(exc, address, doing) from exc


def _is_about_engines(exc: BaseException) -> bool:
    origin = type(exc).__module__.partition(".")[0]
    return origin in ("docker", "requests", "urllib3", "paramiko", "ssl", "socket") or isinstance(exc, OSError)


def explained(exc: BaseException, address: Address, doing: str = "") -> EngineError | ImageNotFoundError:
    """What to say of a failure."""
    from docker import errors  # noqa: PLC0415 - whoever raised it has imported it

    said = str(getattr(exc, "explanation", None) or exc)
    if isinstance(exc, errors.ImageNotFound):
        return ImageNotFoundError(f"The container engine at {address.url} has no such image: {said}.")
    for pattern, kind, words in ANSWERS:
        if re.search(pattern, said, re.IGNORECASE):
            return kind(f"{words.format(url=address.url)} (The engine said: {said})")
    if isinstance(exc, errors.APIError):
        return EngineError(f"The container engine at {address.url} refused to {doing or 'do that'}: {said}")
    return _unanswered(exc, address)


def _unanswered(exc: BaseException, address: Address) -> EngineError:
    """What to say where it came to no answer."""
    import ssl  # noqa: PLC0415 - failures are rare

    causes = [*_causes(exc)]
    where = f"{address.url} ({address.source})"
    if any(isinstance(each, PermissionError) for each in causes):
        return EngineAccessError(DENIED.format(url=address.url))
    if any(isinstance(each, ssl.SSLError) for each in causes):
        return EngineError(
            f"The container engine at {where} and this machine do not agree on TLS: {_last(causes)}. Set "
            "DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH to the directory with ca.pem, cert.pem and key.pem for it."
        )
    if "paramiko" in str(exc):
        return EngineError(f"To reach the container engine at {where}, install paramiko: pip install 'docker[ssh]'.")
    if address.is_here:
        return EngineUnreachableError(f"No container engine answers at {where}: {_last(causes)}. {START}")
    return EngineUnreachableError(
        f"No container engine answers at {where}: {_last(causes)}. Is that the right address, does the engine run "
        "there, and does its network let you in? `docker -H` with the address asks the same."
    )


def is_timeout(exc: BaseException) -> bool:
    """Whether an engine has not answered in time, rather than not at all."""
    return any(isinstance(each, TimeoutError) or type(each).__name__ == "ReadTimeoutError" for each in _causes(exc))


def _last(causes: list[BaseException]) -> str:
    """The innermost failure, in few words."""
    return str(getattr(causes[-1], "strerror", None) or causes[-1]).strip(". ") or type(causes[-1]).__name__


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """An exception and what led to it, also where that is only among its arguments."""
    seen: list[BaseException] = []
    left = [exc]
    while left:
        each = left.pop(0)
        if each not in seen:
            seen.append(each)
            inner = [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
            left += [cause for cause in inner if isinstance(cause, BaseException)]
    yield from seen
