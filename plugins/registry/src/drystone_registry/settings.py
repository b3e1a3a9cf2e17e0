"""The settings of a registry: what they may be, and what follows from its address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from drystone import Secret
from drystone.errors import StackError

if TYPE_CHECKING:
    from drystone_registry.container_registry import ContainerRegistry

HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
"""How Docker Hub is called in names of images."""

HUB_API, HUB_LOGIN = "registry-1.docker.io", "https://index.docker.io/v1/"
"""Where Docker Hub answers, and what `docker login` calls it."""

_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?\.?|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*"


def split(uri: str) -> tuple[str, str]:
    """The host of a registry, with its port, and the path below which images are kept."""
    host, _, path = uri.partition("/")
    return host, path


def api_host(uri: str) -> str:
    """Where the registry answers."""
    host = split(uri)[0]
    return HUB_API if host in HUB else host


def login_name(uri: str) -> str:
    """What Docker's own credential store calls it."""
    host = split(uri)[0]
    return HUB_LOGIN if host in HUB else host


def without_slash(uri: Any) -> Any:
    """An address without a slash at its end."""
    return uri.rstrip("/") if isinstance(uri, str) else uri


def check_uri(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A host, perhaps a port, perhaps a path; nothing else."""
    text = value if isinstance(value, str) else ""
    said = f"ContainerRegistry({value!r})"
    if "@" in text:
        raise StackError(
            "ContainerRegistry: an address takes no credentials and no digest. Give username= and "
            'password=Secret("env:REGISTRY_PASSWORD").'
        )
    if "://" in text:
        raise StackError(
            f"{said}: names of images have no scheme. Write {text.partition('://')[2]!r}; plain_http=True is for "
            "registries elsewhere that speak http."
        )
    host, path = split(text)
    if not re.fullmatch(_HOST, host) or (path and not re.fullmatch(_PATH, path)):
        raise StackError(
            f"{said}: it takes a host, and perhaps a port and a path in lower case, as localhost:5000/team or "
            "ghcr.io/team."
        )
    if not ("." in host or ":" in host or host == "localhost"):
        raise StackError(f"{said}: {host!r} is no host. Write docker.io/{text} if that is an account of Docker Hub.")
    if host in HUB and not path:
        raise StackError(f"{said}: images of Docker Hub are below an account. Write {host}/team.")


def check_secret(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """A reference, and no plain text."""
    if value is not None and not isinstance(value, Secret):
        raise TypeError(
            "ContainerRegistry: password= takes a reference, since plain text would be shown and recorded: "
            'password=Secret("env:REGISTRY_PASSWORD").'
        )


def check_together(registry: ContainerRegistry) -> None:
    """A username has a password."""
    if (registry.username is None) != (registry.password is None):
        raise StackError("ContainerRegistry takes username= and password= together, or neither.")
