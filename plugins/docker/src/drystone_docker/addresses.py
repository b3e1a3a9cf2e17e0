"""Where the container engine is: what a setting, the environment or Docker's own contexts say of it."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from drystone.errors import EngineError

SOCKET = "unix:///var/run/docker.sock"
"""Where an engine answers, unless something says otherwise."""

LOOPBACK = re.compile(r"localhost|(.+\.)?localhost|127(\.\d+){1,3}|::1|0\.0\.0\.0", re.IGNORECASE)
"""Names of this machine for itself."""


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address leads to this machine itself."""
    return bool(host and LOOPBACK.fullmatch(host.strip("[]").rstrip(".")))


@attrs.frozen
class Address:
    """Where an engine answers.

    Attributes:
        url: As `unix:///var/run/docker.sock`, `ssh://user@host` or `tcp://host:2376`.
        source: What says so, as in "DOCKER_HOST says so".
        tls: Certificates for `tcp`, as docker-py takes them.
    """

    url: str
    source: str
    tls: Any = attrs.field(default=None, eq=False, repr=False)

    @property
    def is_here(self) -> bool:
        """Whether the engine is on this machine, and sees its files."""
        parts = urlsplit(self.url)
        return parts.scheme in ("unix", "http+unix", "npipe") or is_loopback(parts.hostname)


def address(host: str | None) -> Address:
    """Where the engine is that a setting means; without one, as Docker's own command line finds it.

    Raises:
        EngineError: Docker's context is none, or its certificates cannot be read.
    """
    if host is not None:
        return Address(host, "the setting host= says so", _certificates(host))
    if host := os.environ.get("DOCKER_HOST"):
        return Address(host, "DOCKER_HOST says so", _certificates(host))
    return _of_context()


def _certificates(host: str) -> Any:
    """What `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` say of an engine that is reached over TCP."""
    from docker import errors, utils  # noqa: PLC0415 - takes 0.2 s

    if not host.startswith(("tcp://", "https://")):
        return None
    try:
        return utils.kwargs_from_env({**os.environ, "DOCKER_HOST": host}).get("tls")
    except errors.TLSParameterError as exc:
        raise EngineError(
            f"The container engine at {host} cannot be asked, since its certificates are not there: {exc.msg} "
            "DOCKER_CERT_PATH names the directory with ca.pem, cert.pem and key.pem."
        ) from exc


def _of_context() -> Address:
    """The engine of Docker's current context."""
    name = os.environ.get("DOCKER_CONTEXT") or _current_context()
    if name == "default":
        return Address(SOCKET, "Docker's default")
    from docker.context import ContextAPI  # noqa: PLC0415 - takes 0.2 s, and most have no contexts

    try:
        context = ContextAPI.get_context(name)
    except Exception as exc:  # of no class in particular
        raise EngineError(f"Docker's context {name!r} cannot be read: {exc}. See `docker context ls`.") from exc
    if context is None or not context.Host:
        says = "DOCKER_CONTEXT" if os.environ.get("DOCKER_CONTEXT") else "~/.docker/config.json"
        raise EngineError(
            f"{says} names Docker's context {name!r}, which is not there. `docker context ls` lists what there is; "
            "`docker context use default` goes back to the engine of this machine."
        )
    return Address(context.Host, f"Docker's context {name!r} says so", context.TLSConfig)


def _current_context() -> str:
    """What `docker context use` has chosen."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path("~/.docker").expanduser())
    with suppress(OSError, ValueError):
        return str(json.loads((folder / "config.json").read_text()).get("currentContext") or "default")
    return "default"
