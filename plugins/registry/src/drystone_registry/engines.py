"""The Docker engine, by which images come and go."""

from __future__ import annotations

import copy
import os
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from drystone.errors import (
    DrystoneError,
    EngineAccessError,
    EngineError,
    EngineUnreachableError,
    ImageNotFoundError,
    RegistryError,
)
from drystone_registry import credentials, settings
from drystone_registry.messages import explained, is_passing

if TYPE_CHECKING:
    from docker import APIClient

    from drystone_registry.container_registry import ContainerRegistry

SOCKET = "unix:///var/run/docker.sock"

SILENCE = 600
"""Seconds without a word from the engine after which it is given up."""

ATTEMPTS = 20
"""How often a push is made while others move the tag in the engine."""

DELAYS = (0.5, 1.0, 2.0)
"""Seconds between attempts at what a registry answers that it cannot now."""

PATIENCE = 15.0
"""Seconds after which there is no further attempt: with layers the engine has been patient itself."""

_locks: dict[str, threading.Lock] = {}


@contextmanager
def engine(given: APIClient | None = None) -> Iterator[APIClient]:
    """A client of the engine: the given one, else of that which `DOCKER_HOST` names, or of the one on the usual socket.

    Raises:
        EngineUnreachableError: None runs there.
        EngineAccessError: It may not be used.
        EngineError: It cannot do what it is asked.
    """
    import docker  # noqa: PLC0415 - imported when an engine is used, not when a registry is configured
    from requests.exceptions import RequestException  # noqa: PLC0415

    host = os.environ.get("DOCKER_HOST") or SOCKET if given is None else given.base_url
    try:
        if given is not None:
            yield _patient(given)
            return
        _reach(host)
        client = docker.APIClient(**docker.utils.kwargs_from_env(), timeout=SILENCE)
        try:
            yield client
        finally:
            client.close()
    except DrystoneError:
        raise
    except PermissionError as exc:
        raise EngineAccessError(
            f"The Docker engine at {host} may not be used by this user. Have yourself added to its group (sudo usermod "
            "-aG docker $USER, then log in again), or let DOCKER_HOST name an engine of your own."
        ) from exc
    except docker.errors.APIError as exc:
        raise EngineError(f"The Docker engine at {host} refuses: {exc.explanation or exc}.") from exc
    except (OSError, RequestException, docker.errors.DockerException) as exc:
        raise EngineUnreachableError(
            f"No Docker engine answers at {host}. Start it (sudo systemctl start docker, or Docker Desktop), or let "
            "DOCKER_HOST name the one to use."
        ) from exc


def _patient(given: APIClient) -> APIClient:
    """A client with the connections of another one, that waits longer for an answer."""
    client = copy.copy(given)
    client.timeout = SILENCE
    return client


def _reach(host: str) -> None:
    """Connect to a socket and hang up: where nobody listens, docker would leave its own connection open."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(10)
            probe.connect(host.removeprefix("unix://"))


def push(client: APIClient, image: str, repository: str, tag: str, registry: ContainerRegistry) -> str:
    """Push an image under a tag; returns its digest.

    The engine pushes what the tag means to it, which others may move between our tagging and its pushing: whether it
    was our image is seen afterwards.
    """
    with _locks.setdefault(f"{repository}:{tag}", threading.Lock()):
        for _ in range(ATTEMPTS):
            _tag(client, image, repository, tag)
            digest = _pushed(client, repository, tag, registry)
            if any(each.endswith(f"@{digest}") for each in client.inspect_image(image)["RepoDigests"] or []):
                return digest
    raise RegistryError(
        f"{image} could not be pushed as {repository}:{tag}: others keep giving that tag to other images in this "
        "engine. Push under another tag."
    )


def _tag(client: APIClient, image: str, repository: str, tag: str) -> None:
    from docker.errors import ImageNotFound  # noqa: PLC0415

    try:
        client.tag(image, repository, tag, force=True)
    except ImageNotFound as exc:
        raise ImageNotFoundError(f"The Docker engine has no image {image!r}. Build it first.") from exc


def _pushed(client: APIClient, repository: str, tag: str, registry: ContainerRegistry) -> str:
    digest, options = "", {"stream": True, "decode": True, "auth_config": _login(registry)}
    for each in _told(lambda: client.push(repository, tag, **options), registry, "push"):
        digest = (each.get("aux") or {}).get("Digest") or digest
    if not digest:
        raise RegistryError(f"The Docker engine pushed to {repository} and did not say what. Push again.")
    return digest


def pull(client: APIClient, repository: str, digest: str, registry: ContainerRegistry) -> str:
    """Pull an image by digest, if the engine has it not yet; returns its id."""
    from docker.errors import ImageNotFound  # noqa: PLC0415

    reference = f"{repository}@{digest}"
    try:
        return str(client.inspect_image(reference)["Id"])
    except ImageNotFound:
        options = {"stream": True, "decode": True, "auth_config": _login(registry)}
        for _ in _told(lambda: client.pull(repository, digest, **options), registry, "pull"):
            pass  # to the end, since it pulls as long as somebody listens
        return str(client.inspect_image(reference)["Id"])


def _login(registry: ContainerRegistry) -> dict[str, str]:
    """Credentials for one request; nothing for nobody, lest docker's library looks for some itself."""
    known = credentials.found(registry)
    return known.for_engine(settings.login_name(registry.uri)) if known else {}


def _told(
    ask: Callable[[], Iterable[Mapping[str, Any]]], registry: ContainerRegistry, what: str
) -> Iterator[Mapping[str, Any]]:
    """What the engine says while it works; its errors as ours, once it makes no difference to ask again."""
    end = time.monotonic() + PATIENCE
    for delay in (*DELAYS, None):
        failed = yield from _heard(ask)
        if failed is None:
            return
        if delay is None or not is_passing(failed[0]) or time.monotonic() > end:
            raise explained(failed[0], registry, what) from failed[1]
        time.sleep(delay)


def _heard(
    ask: Callable[[], Iterable[Mapping[str, Any]]],
) -> Generator[Mapping[str, Any], None, tuple[str, Exception | None] | None]:
    """What the engine says; returns what it says of a failure, and what was raised for that, if there was one."""
    from docker.errors import APIError  # noqa: PLC0415

    try:
        for each in ask():
            if "error" in each:
                return str(each["error"]), None
            yield each
    except APIError as exc:
        return str(exc.explanation or exc), exc
    return None
