"""Connections to a registry: which protocol is spoken, who is told what, what is tried again."""

from __future__ import annotations

import re
import ssl
import time
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs

from drystone.errors import RegistryError
from drystone_registry import credentials, failures, settings, tokens

if TYPE_CHECKING:
    from drystone_registry.container_registry import ContainerRegistry

CONNECT, READ = 5.0, 30.0
"""Seconds to wait for a connection, and for the next bytes of an answer."""

ATTEMPTS, DELAY = 3, 0.2
"""How often what only reads is asked, and the seconds before the second time; each next time twice as many."""

REDIRECTS = 5

SAFE = ("GET", "HEAD")
"""Requests that change nothing: these are tried again, and follow where the registry sends them."""

CERTIFICATES = Path("/etc/docker/certs.d")
"""Where Docker's engine looks for certificates, by host."""


@attrs.frozen
class Answer:
    """What a registry, or a token server, answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Connection:
    """Speaks to one registry, while some question is answered; nothing of it is kept."""

    def __init__(self, registry: ContainerRegistry) -> None:
        """Nothing is asked yet."""
        self.registry, self.host = registry, settings.split(registry.uri)[0]
        self.schemes = _schemes(registry)
        self.credentials: credentials.Credentials | None = None
        self._authorization: str | None = None
        self._known = False
        self._pools = ExitStack()
        self._by_use: dict[tuple[str | None, bool], Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pools.close()

    @property
    def source(self) -> str | None:
        """Where the credentials are from that were used."""
        return self.credentials.source if self.credentials else None

    @property
    def scheme(self) -> str:
        """The protocol that is spoken, known from the first answer on."""
        return self.schemes[0]

    def ask(
        self, method: str, path: str, what: str, *, expected: tuple[int, ...] = (200,), accept: tuple[str, ...] = ()
    ) -> Answer:
        """Ask the registry.

        Args:
            method: Of HTTP.
            path: Below `/v2/`, or whole, as a registry gives it.
            what: What it is asked to do, for messages: `list tags`.
            expected: The answers that the caller knows; 401, 403 and the like are told as what they are.
            accept: The types that may come.

        Raises:
            RegistryError: Any other answer, or none.
        """
        headers = {"Accept": ", ".join(accept)} if accept else {}
        answer = self._asked(method, path, headers)
        if answer.status == 401 and (wanted := tokens.challenge(answer.headers.get("WWW-Authenticate", ""))):
            self._authorize(wanted)
            answer = self._asked(method, path, headers)
        if answer.status == 400 and method == "HEAD":  # which has no text to say why
            answer = self._asked("GET", path, headers)
        if answer.status not in expected:
            raise failures.unexpected(answer, self, what)
        return answer

    def _authorize(self, wanted: tokens.Challenge) -> None:
        if not self._known:
            self.credentials, self._known = credentials.found(self.registry), True
        try:
            self._authorization = tokens.authorization(wanted, self.credentials, self.send, self.host, self.scheme)
        except _http_errors() as exc:
            if isinstance(exc, RegistryError):
                raise
            raise failures.without_token(self.host, wanted.parameters.get("realm", ""), exc) from exc

    def _asked(self, method: str, path: str, headers: dict[str, str]) -> Answer:
        """The answer, of the protocol that is spoken, of where it sends us."""
        base = settings.api_host(self.registry.uri)
        for scheme in self.schemes:
            url = own = urljoin(f"{scheme}://{base}/v2/", path)
            try:
                answer = self._send(method, url, headers, own)
            except _http_errors() as exc:
                if scheme == self.schemes[-1] or failures.is_refusal(exc):
                    raise failures.explained(exc, self, scheme) from exc
                continue
            self.schemes = (scheme,)
            return self._followed(method, own, headers, answer)
        raise AssertionError("a registry is spoken to by some protocol")

    def _followed(self, method: str, own: str, headers: dict[str, str], answer: Answer) -> Answer:
        url = own
        for _ in range(REDIRECTS):
            if answer.status not in (301, 302, 303, 307, 308) or method not in SAFE or "Location" not in answer.headers:
                return answer
            url = urljoin(url, answer.headers["Location"])
            try:
                answer = self._send(method, url, headers, own)
            except _http_errors() as exc:
                raise failures.silent(self.host, f"{_origin(url)}, where it sends us,", type(exc).__name__) from exc
        raise RegistryError(f"The registry {self.host} sends us from one place to the next, and answers nowhere.")

    def _send(self, method: str, url: str, headers: dict[str, str], own: str) -> Answer:
        """Send a request, with the credentials if it is for the registry itself."""
        mine = self._authorization is not None and _origin(url) == _origin(own)
        allowed = {"Authorization": self._authorization or ""} if mine else {}
        return self.send(method, url, headers={**headers, **allowed}, tries=ATTEMPTS if method in SAFE else 1)

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, tries: int = 1
    ) -> Answer:
        """Send a request to any server, with nothing but what it is given."""
        delay = DELAY
        for left in reversed(range(tries)):
            try:
                answer = self._sent(method, url, headers, body)
                if not left or not (answer.status == 429 or answer.status >= 502):
                    return answer
            except _http_errors() as exc:
                if not left or not _is_passing(exc):
                    raise
            time.sleep(delay)
            delay *= 2
        raise AssertionError("a request is sent at least once")

    def _sent(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        import urllib3  # noqa: PLC0415 - imported when a registry is asked, not when one is configured

        timeout = urllib3.Timeout(connect=CONNECT, read=READ)
        pool = self._pool(self._proxy(url), own=urlsplit(url).netloc == settings.api_host(self.registry.uri))
        said = pool.request(
            method, url, headers=dict(headers), body=body, timeout=timeout, retries=False, redirect=False
        )
        return Answer(said.status, said.headers, said.data)

    def _proxy(self, url: str) -> str | None:
        parts = urlsplit(url)
        if self.registry.is_local or proxy_bypass(parts.netloc):
            return None
        return getproxies().get(parts.scheme)

    def _pool(self, proxy: str | None, *, own: bool) -> Any:
        """Connections by way of a proxy, to the registry itself or to others, who are trusted as anybody is."""
        import urllib3  # noqa: PLC0415

        if (proxy, own) not in self._by_use:
            context = self._trusting() if own else ssl.create_default_context()
            pool = (
                urllib3.ProxyManager(proxy, ssl_context=context) if proxy else urllib3.PoolManager(ssl_context=context)
            )
            self._by_use[proxy, own] = self._pools.enter_context(pool)
        return self._by_use[proxy, own]

    def _trusting(self) -> ssl.SSLContext:
        """What this machine trusts, and what Docker's engine does for this registry."""
        context = ssl.create_default_context()
        if self.registry.is_local and self.registry.plain_http is None:  # as Docker does
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            name = re.escape(urlsplit(f"//{self.host}").hostname or "")
            warnings.filterwarnings("ignore", f"Unverified HTTPS request is being made to host '{name}'")
        for file in sorted((CERTIFICATES / self.host).glob("*.crt")):
            context.load_verify_locations(file)
        for file in sorted((CERTIFICATES / self.host).glob("*.cert")):
            context.load_cert_chain(file, file.with_suffix(".key"))
        return context


def _schemes(registry: ContainerRegistry) -> tuple[str, ...]:
    """The protocols to try."""
    if registry.plain_http is None:
        return ("https", "http") if registry.is_local else ("https",)
    return ("http",) if registry.plain_http else ("https",)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _http_errors() -> tuple[type[Exception], ...]:
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    return (HTTPError, OSError)


def _is_passing(exc: Exception) -> bool:
    """Whether the same request may succeed a moment later: a connection that broke, and no refusal."""
    from urllib3.exceptions import ProtocolError  # noqa: PLC0415

    return isinstance(exc, ProtocolError)
