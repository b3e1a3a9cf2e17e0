"""What keeps a registry from being used, found by using it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from drystone.errors import EngineError, RegistryAccessError, RegistryError, StackError
from drystone_registry import distribution, engines, failures, settings
from drystone_registry.connections import Connection

if TYPE_CHECKING:
    from drystone_registry.container_registry import ContainerRegistry

PROBE = "drystone-check"
"""The repository that an upload is begun for, and given up."""


def problems(registry: ContainerRegistry) -> Iterator[str]:
    """A sentence for everything that is wrong. Nothing is stored for that."""
    scheme = None
    try:
        with Connection(registry) as connection:
            connection.ask("GET", "", "let us in")
            scheme = connection.scheme
            distribution.try_to_push(connection, _probe(registry))
    except RegistryAccessError as exc:
        yield str(exc)
    except (RegistryError, StackError) as exc:
        yield str(exc)
    yield from _of_engine(registry, scheme)


def _probe(registry: ContainerRegistry) -> str:
    return "/".join(filter(None, (settings.split(registry.uri)[1], PROBE)))


def _of_engine(registry: ContainerRegistry, scheme: str | None) -> Iterator[str]:
    """Whether there is an engine, and whether it would speak to the registry as we do."""
    try:
        with engines.engine() as client:
            known = client.info().get("RegistryConfig") or {}
    except EngineError as exc:
        yield str(exc)
        return
    host = settings.split(registry.uri)[0]
    if scheme == "http" and not _is_insecure(host, known):
        yield f"The registry {host} speaks plain http, which the Docker engine will not: {failures.for_engine(host)}."


def _is_insecure(host: str, known: dict[str, Any]) -> bool:
    """Whether an engine speaks plain HTTP to a host: it has been told so, by name or by network."""
    entry = (known.get("IndexConfigs") or {}).get(host)
    if entry is not None:
        return not entry.get("Secure", True)
    networks = [ipaddress.ip_network(each) for each in known.get("InsecureRegistryCIDRs") or []]
    return any(address in network for network in networks for address in _addresses(host))


def _addresses(host: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    with suppress(OSError):
        found = socket.getaddrinfo(name.strip("[]"), None)
        return {ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found}
    return set()
