"""Who the registry is told that we are: by settings, by Docker's own credential store, or nobody."""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from drystone.errors import RegistryAccessError
from drystone_registry import settings

if TYPE_CHECKING:
    from drystone_registry.container_registry import ContainerRegistry

PATIENCE = 60.0
"""Seconds that a credential helper may take; those of clouds ask a service."""

TOKEN_USER = "<token>"
"""The username with which a credential helper says that the secret is an identity token."""


@attrs.frozen(kw_only=True)
class Credentials:
    """A username and a password, or an identity token that a token server takes in their place.

    Attributes:
        source: Where they are from, for messages.
    """

    source: str
    username: str = attrs.field(default="", repr=False)
    password: str = attrs.field(default="", repr=False)
    identity_token: str = attrs.field(default="", repr=False)

    @property
    def basic(self) -> str:
        """What stands in the header `Authorization`."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    def for_engine(self, server: str) -> dict[str, str]:
        """What the engine is told with one request; it keeps none of it."""
        if self.identity_token:
            return {"identitytoken": self.identity_token, "serveraddress": server}
        return {"username": self.username, "password": self.password, "serveraddress": server}


def found(registry: ContainerRegistry) -> Credentials | None:
    """The settings' username and password, else what Docker's own store has for the registry, else none."""
    if registry.username is not None and registry.password is not None:
        return Credentials(
            source="`username` and `password`", username=registry.username, password=registry.password.resolve()
        )
    return stored(settings.login_name(registry.uri))


def stored(server: str) -> Credentials | None:
    """What Docker's own store has for a server: a helper of this server, the helper of all, or the file itself."""
    file = docker_config()
    config = _read(file)
    helper = _mapping(config, "credHelpers").get(server) or config.get("credsStore")
    if helper and (helped := ask_helper(str(helper), server)):
        return helped
    entries = _mapping(config, "auths")
    named = {_server(each): entry for each, entry in entries.items()} | entries
    return _of_file(named.get(server) or {}, file)


def docker_config() -> Path:
    """The file that `docker login` writes."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"


def _read(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise RegistryAccessError(
            f"Docker's settings in {file} cannot be read ({type(exc).__name__}), where credentials are "
            "looked for. Repair the file, or let DOCKER_CONFIG name another directory."
        ) from None  # the text of the file is in what json raises
    return config if isinstance(config, dict) else {}


def _mapping(config: dict[str, Any], name: str) -> dict[str, Any]:
    value = config.get(name)
    return value if isinstance(value, dict) else {}


def _server(name: str) -> str:
    """A key of `auths` as it may also be written, `https://ghcr.io/v1/`, as a host."""
    return name if name == settings.HUB_LOGIN else name.partition("://")[2].partition("/")[0] or name.partition("/")[0]


def _of_file(entry: dict[str, Any], file: Path) -> Credentials | None:
    try:
        pair = base64.b64decode(entry.get("auth") or "").decode()
    except (binascii.Error, ValueError):
        raise RegistryAccessError(
            f"What {file} holds for the registry is no credential. Log in again with `docker login`."
        ) from None
    username, _, password = pair.partition(":")
    username, password = username or entry.get("username", ""), password.strip("\0") or entry.get("password", "")
    token = entry.get("identitytoken", "")
    if not (username or token):
        return None
    return Credentials(source=str(file), username=username, password=password, identity_token=token)


def ask_helper(helper: str, server: str) -> Credentials | None:
    """What `docker-credential-<helper>` has for a server; none if it has nothing.

    Raises:
        RegistryAccessError: It is not there, or fails. What it printed is not told, since that may be a secret.
    """
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"], input=server, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode and "credentials not found" in done.stdout.lower():
            return None
        done.check_returncode()
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except FileNotFoundError:
        raise RegistryAccessError(
            f"{docker_config()} says that {program} keeps the credentials for {server}, and there is no such program "
            "on PATH. Install it, or remove it from the file."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError):
        raise RegistryAccessError(
            f"{program} gives no credentials for {server}. See what it says: echo {server} | {program} get"
        ) from None
    if username == TOKEN_USER:
        return Credentials(source=program, identity_token=secret)
    return Credentials(source=program, username=username, password=secret)
