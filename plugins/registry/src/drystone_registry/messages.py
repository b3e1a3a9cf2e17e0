"""What the engine says when a registry does not do what it wants, and what that means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drystone.errors import DrystoneError, EngineError, ImageNotFoundError, RegistryError
from drystone_registry import credentials, failures, settings

if TYPE_CHECKING:
    from drystone_registry.container_registry import ContainerRegistry

PLAIN = ("server gave http response to https client", "first record does not look like a tls handshake")
ENCRYPTED = ("http request to an https server", "http request was sent to https port")
DISTRUSTED = ("x509:", "tls: failed to verify certificate", "certificate signed by unknown", "remote error: tls")
FORBIDDEN = ("denied", "insufficient_scope", "forbidden")
REFUSED = ("unauthorized", "no basic auth credentials", "authentication required", "incorrect username or password")
SILENT = (
    *("connection refused", "no such host", "i/o timeout", "dial tcp", "connection reset", "network is unreachable"),
    *(
        "deadline exceeded",
        "client.timeout",
        "request canceled",
        "tls handshake timeout",
        ": eof",
        "server misbehaving",
    ),
)
BROKEN = ("http status: 5", "internal server error", "service unavailable", "bad gateway", "gateway timeout")
BUSY = ("toomanyrequests", "http status: 429")
OTHER_PLATFORM = ("no matching manifest", "does not match the specified platform", "operating system cannot be used")
ABSENT = ("manifest unknown", "not found", "name unknown", "does not exist", "repository does not exist")
FULL = ("no space left on device",)


def is_passing(said: str) -> bool:
    """Whether the same may go well a moment later, by what the engine said."""
    return any(each in said.lower() for each in BROKEN)


def explained(said: str, registry: ContainerRegistry, what: str) -> DrystoneError:
    """The error for what the engine said.

    Args:
        said: Its words.
        registry: Which it was to talk to.
        what: `push` or `pull`.
    """
    host, text = settings.split(registry.uri)[0], said.lower()

    def is_about(phrases: tuple[str, ...]) -> bool:
        return any(each in text for each in phrases)

    if is_about(FULL):
        return EngineError(f"The disk is full, on the machine of the Docker engine or of {host}: {said}. Free some.")
    if is_about(PLAIN):
        return failures.plain(host, "the Docker engine tried https")
    if is_about(ENCRYPTED):
        return failures.encrypted(host)
    if is_about(DISTRUSTED):
        return failures.distrusted(host, said.rpartition("x509: ")[2])
    if is_about(BROKEN + BUSY):
        return failures.broken(host, f"{what} an image", said)
    if is_about(SILENT):
        return failures.silent(host, f"a {what} by the Docker engine", said)
    if is_about(OTHER_PLATFORM):
        return ImageNotFoundError(
            f"The registry {host} has this image for other platforms only: {said}. Build it for this one."
        )
    return _denied(said, registry, what) if is_about(REFUSED + FORBIDDEN) else _unknown(said, registry, what)


def _denied(said: str, registry: ContainerRegistry, what: str) -> RegistryError:
    host, known = settings.split(registry.uri)[0], credentials.found(registry)
    source = known.source if known else None
    if source is None or any(each in said.lower() for each in REFUSED):
        return failures.refused(host, source)
    return failures.forbidden(host, f"{what} this image", source)


def _unknown(said: str, registry: ContainerRegistry, what: str) -> RegistryError:
    host = settings.split(registry.uri)[0]
    if not any(each in said.lower() for each in ABSENT):
        return RegistryError(f"The Docker engine cannot {what}: {host} said {said!r}.")
    if what == "pull":
        return ImageNotFoundError(f"The registry {registry.uri} has no such image: {said}. Push it first.")
    return RegistryError(
        f"The registry {registry.uri} takes no such image: {said}. Some want a repository to be made first, as with "
        "`aws ecr create-repository`."
    )
