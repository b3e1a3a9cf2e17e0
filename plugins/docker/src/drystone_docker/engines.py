"""Container engines: one connection per process and engine, and what is to be known of each."""

from __future__ import annotations

import atexit
import os
import socket
import sys
import threading
from functools import cached_property
from typing import Any

from drystone.errors import EngineError
from drystone_docker.addresses import Address, address
from drystone_docker.failures import translated

PATIENCE = 60
"""Seconds to wait for an answer that should come at once."""

CONNECTIONS = 64
"""Connections that are kept for further requests; each job that is waited for holds one."""

OLDEST = "1.41"
"""The oldest version of Docker's API that does all that is asked of it, platforms among it."""

_engines: dict[tuple[int, str], Engine] = {}
_lock = threading.Lock()


class Engine:
    """A container engine that answers; its methods may be called from several threads.

    Attributes:
        address: Where it is.
        client: Of docker-py.
        api: The same, with a method for each request of Docker's API.
    """

    def __init__(self, address: Address, client: Any) -> None:
        self.address = address
        self.client = client
        self.api = client.api

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the engine says of itself and its machine, as `docker info` shows it."""
        with translated(self.address):
            return dict(self.api.info())

    @property
    def is_rootless(self) -> bool:
        """Whether it runs as a user, who is root in its containers."""
        return any("rootless" in option for option in self.info.get("SecurityOptions") or ())

    @property
    def is_virtual(self) -> bool:
        """Whether it runs in a virtual machine of this one, as Docker Desktop does and all do on a Mac."""
        return sys.platform != "linux" or "docker desktop" in self.info.get("OperatingSystem", "").lower()

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine, and sees its files."""
        return self.address.is_here

    @property
    def shares_kernel(self) -> bool:
        """Whether containers are processes of this machine, so that locks of files are theirs, too."""
        return self.is_here and not self.is_virtual

    @property
    def shares_network(self) -> bool:
        """Whether containers can have this machine's own network, loopback included."""
        return self.shares_kernel and not self.is_rootless

    @property
    def cpus(self) -> int:
        """The cores of its machine."""
        return int(self.info.get("NCPU") or 1)

    @property
    def platform(self) -> str:
        """What its machine is, as `linux/amd64`."""
        names = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
        machine = self.info.get("Architecture", "")
        return f"{self.info.get('OSType', 'linux')}/{names.get(machine, machine)}"


def engine(host: str | None) -> Engine:
    """The engine that a setting `host` means; this process has one connection to each.

    Raises:
        EngineUnreachableError, EngineAccessError, EngineError: It cannot be asked; says why, and what to do.
    """
    found = address(host)
    with _lock:
        known = _engines.get((os.getpid(), found.url))  # a child made by fork must not use its parent's connections
        if known is None:
            known = _engines[os.getpid(), found.url] = Engine(found, _connected(found))
        return known


def _connected(found: Address) -> Any:
    """A client that speaks the version of the API that the engine speaks."""
    with translated(found):
        _knock(found.url)
        client = _client(found, OLDEST)
        try:
            spoken = str(client.version(api_version=False)["ApiVersion"])
        finally:
            client.close()
        if _parts(spoken) < _parts(OLDEST):
            raise EngineError(
                f"The container engine at {found.url} is too old: it speaks version {spoken} of Docker's API, and "
                f"{OLDEST} is needed, which Docker 20.10 has."
            )
        return _client(found, spoken)


def _knock(url: str) -> None:
    """See whether anybody listens on a socket: where nobody does, docker-py would leave its own one open."""
    scheme, _, path = url.partition("://")
    if scheme in ("unix", "http+unix"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(f"/{path.lstrip('/')}")


def _client(found: Address, version: str) -> Any:
    import docker  # noqa: PLC0415 - takes 0.2 s

    client = docker.DockerClient(
        base_url=found.url, tls=found.tls, version=version, timeout=PATIENCE, max_pool_size=CONNECTIONS
    )
    client.api.trust_env = found.tls is None  # else REQUESTS_CA_BUNDLE would take the place of the engine's own ca.pem
    return client


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@atexit.register
def close() -> None:
    """Close this process's connections; they are made again when they are needed."""
    with _lock:
        for key in [key for key in _engines if key[0] == os.getpid()]:
            _engines.pop(key).client.close()
