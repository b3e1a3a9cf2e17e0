"""How a registry wants to be told who asks: `WWW-Authenticate`, and the token servers that it names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import attrs

from drystone.errors import RegistryAccessError, RegistryUnreachableError
from drystone_registry import failures

if TYPE_CHECKING:
    from drystone_registry.connections import Answer
    from drystone_registry.credentials import Credentials

_CHALLENGE = re.compile(r"(?:^|,)\s*(basic|bearer)\s+", re.IGNORECASE)
_PARAMETER = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))')

CLIENT = "drystone"

TRIES = 3
"""How often a token server is asked that breaks off or is busy."""

Send = Callable[..., "Answer"]
"""Sends one request to any server, with no credentials but those in its headers."""


@attrs.frozen
class Challenge:
    """What a registry wants.

    Attributes:
        scheme: `basic` or `bearer`.
        parameters: Of a token server: its address is the `realm`.
    """

    scheme: str
    parameters: Mapping[str, str]


def challenge(header: str) -> Challenge | None:
    """What a header `WWW-Authenticate` wants; a token rather than a password where it takes both."""
    found = [*_CHALLENGE.finditer(header)]
    ends = [*(each.start() for each in found[1:]), len(header)]
    challenges = [
        Challenge(
            each[1].lower(), {key: quoted or bare for key, quoted, bare in _PARAMETER.findall(header[each.end() : end])}
        )
        for each, end in zip(found, ends, strict=True)
    ]
    return next((each for each in challenges if each.scheme == "bearer"), challenges[0] if challenges else None)


def authorization(wanted: Challenge, credentials: Credentials | None, send: Send, host: str, scheme: str) -> str | None:
    """The header `Authorization` that answers a challenge; None if there is nothing to answer it with.

    Args:
        wanted: What the registry wants.
        credentials: Who we are.
        send: Asks a token server.
        host: The registry, for messages.
        scheme: What the registry was spoken to by: with `https`, no password leaves by anything less.
    """
    if wanted.scheme == "basic":
        return credentials.basic if credentials and credentials.username else None
    realm = wanted.parameters.get("realm", "")
    if urlsplit(realm).scheme not in {"https", scheme}:
        raise RegistryAccessError(
            f"The registry {host} sends everybody to the token server {realm!r}, which is not spoken to by https; so "
            "it was not told any credentials. That is for the registry's administrator to repair."
        )
    answer = _ask(realm, wanted, credentials, send)
    if answer.status in (401, 403):
        raise failures.refused(host, credentials.source if credentials else None)
    return f"Bearer {_token(answer, host, realm)}"


def _ask(realm: str, wanted: Challenge, credentials: Credentials | None, send: Send) -> Answer:
    asked = {name: wanted.parameters[name] for name in ("service", "scope") if name in wanted.parameters}
    if credentials and credentials.identity_token:
        form = {"grant_type": "refresh_token", "client_id": CLIENT, "refresh_token": credentials.identity_token} | asked
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return send("POST", realm, headers=headers, body=urlencode(form).encode())
    headers = {"Authorization": credentials.basic} if credentials else {}
    separator = "&" if urlsplit(realm).query else "?"
    return send("GET", f"{realm}{separator}{urlencode({**asked, 'client_id': CLIENT})}", headers=headers, tries=TRIES)


def _token(answer: Answer, host: str, realm: str) -> str:
    try:
        said = json.loads(answer.body) if answer.status == 200 else {}
        token = said.get("token") or said.get("access_token")
    except (ValueError, AttributeError):
        token = None
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
        raise RegistryUnreachableError(
            f"The registry {host} sends everybody to the token server {realm}, which gives no token: it answers "
            f"{answer.status}. Try again later."
        )
    return token
