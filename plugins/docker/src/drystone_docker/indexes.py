"""Where a build gets packages from: what the driver's own tools are told of indexes, proxies and certificates."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

import attrs

from drystone import Secret
from drystone_docker.addresses import is_loopback
from drystone_docker.distributions import BUILD

PASSED = re.compile(
    r"(UV_(DEFAULT_INDEX|INDEX(_\w+)?|EXTRA_INDEX_URL|FIND_LINKS|INSECURE_HOST|HTTP_TIMEOUT|HTTP_RETRIES|EXCLUDE_NEWER)"
    r"|PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|DEFAULT_TIMEOUT|TIMEOUT|RETRIES)"
    r"|(HTTPS?|NO|ALL)_PROXY|https?_proxy|no_proxy|all_proxy)"
)
"""The driver's variables that a build gets."""

CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name a file of certificates, on the driver and in a build."""


@attrs.frozen
class Access:
    """What a build needs to get at packages; none of it is in an image or in the settings of a container.

    Attributes:
        variables: Of the build's script.
        certificates: A file of certificates, if the driver has one of its own.
        expanded: Texts that stand in its files of requirements for `${VARIABLES}`.
    """

    variables: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    certificates: bytes = attrs.field(default=b"", repr=False)
    expanded: tuple[str, ...] = attrs.field(default=(), repr=False)

    @classmethod
    def of_driver(cls, index: str | Secret | None, lines: Iterable[str] = ()) -> Self:
        """The driver's own, and an index that is asked before.

        Raises:
            StackError: The index is a secret that is not there.
        """
        given = {name: text for name, text in os.environ.items() if PASSED.fullmatch(name) and text}
        first = index.resolve() if isinstance(index, Secret) else index
        bundles = (os.environ.get(name) for name in CERTIFICATES)
        file = next((Path(each) for each in bundles if each and Path(each).is_file()), None)
        texts = tuple(text for line in lines for text in _variables(line).values())
        return cls(_for_uv(given, first), file.read_bytes() if file else b"", texts)

    def script(self) -> str:
        """The variables as a shell reads them."""
        bundle = dict.fromkeys(CERTIFICATES, f"{BUILD}/certificates.pem") if self.certificates else {}
        return "".join(
            f"export {name}={shlex.quote(text)}\n" for name, text in sorted({**self.variables, **bundle}.items())
        )

    @property
    def is_loopback(self) -> bool:
        """Whether something that it names is on the driver's own loopback address."""
        hosts = (urlsplit(url).hostname or "" for url in self._urls())
        return any(map(is_loopback, hosts))

    def hidden(self, line: str) -> str:
        """A line of output without credentials."""
        for secret in self._secrets():
            line = line.replace(secret, "…")
        return line

    def _urls(self) -> Iterator[str]:
        for text in (*self.variables.values(), *self.expanded):
            yield from (_unnamed(each) for each in text.split() if "://" in each)

    def _secrets(self) -> set[str]:
        named = {text for name, text in self.variables.items() if name.endswith("_PASSWORD")}
        parts = [urlsplit(url) for url in self._urls()]
        userinfo = {each.netloc.rpartition("@")[0] for each in parts}
        passwords = {each.password or each.username or "" for each in parts if "@" in each.netloc}
        every = {*named, *self.expanded, *userinfo, *passwords, *map(unquote, passwords)}
        return {each for each in every if len(each) > 2}


def _for_uv(given: dict[str, str], first: str | None) -> dict[str, str]:
    """What pip was told of indexes, told to uv; what was said to uv itself is the last word."""
    more = " ".join(filter(None, (first, given.get("UV_INDEX"), given.get("PIP_EXTRA_INDEX_URL"))))
    told = {
        "UV_DEFAULT_INDEX": given.get("UV_DEFAULT_INDEX") or given.get("PIP_INDEX_URL"),
        "UV_INDEX": more,
        "UV_INSECURE_HOST": given.get("UV_INSECURE_HOST") or given.get("PIP_TRUSTED_HOST"),
        "UV_HTTP_TIMEOUT": given.get("UV_HTTP_TIMEOUT") or given.get("PIP_DEFAULT_TIMEOUT"),
        "PIP_INDEX_URL": given.get("PIP_INDEX_URL") or _unnamed(given.get("UV_DEFAULT_INDEX", "")),
        "DRYSTONE_INDEX": first,
    }
    reached = {
        name: " ".join(each for each in text.split() if not _is_file(each)) for name, text in told.items() if text
    }
    lower = {name.lower(): text for name, text in given.items() if name.endswith("_PROXY")}  # apt reads these
    return {**lower, **given, **{name: text for name, text in reached.items() if text}}


def _unnamed(index: str) -> str:
    """The URL of an index that uv may be told a name of, as `team=https://…`."""
    return re.sub(r"^[\w-]+=(?=\w+://)", "", index)


def _is_file(url: str) -> bool:
    return url.startswith("file:") or "=file:" in url


def _variables(line: str) -> dict[str, str]:
    """The variables in a line of a file of requirements, as `${TOKEN}`, which are there."""
    return {name: os.environ[name] for name in re.findall(r"\$\{([A-Z0-9_]+)\}", line) if name in os.environ}


def expanded(line: str) -> str:
    """A line of a file of requirements with the driver's variables in it."""
    for name, text in _variables(line).items():
        line = line.replace(f"${{{name}}}", text)
    return line
