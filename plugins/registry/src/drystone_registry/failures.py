"""What goes wrong between here and a registry, and what to say of it."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

from drystone.errors import RegistryAccessError, RegistryError, RegistryUnreachableError

if TYPE_CHECKING:
    from drystone_registry.connections import Answer, Connection

NO_TLS = ("wrong version number", "wrong_version_number", "record layer failure", "record_layer_failure")
"""What is said of bytes that are no TLS."""

DAEMON = "/etc/docker/daemon.json"
"""Where a Docker engine finds its settings."""


def for_engine(host: str) -> str:
    """What the engine needs for a registry that speaks plain HTTP."""
    return f'add "insecure-registries": ["{host}"] to the engine\'s {DAEMON} and restart it'


def plain(host: str, tried: str = "https was tried") -> RegistryUnreachableError:
    """TLS was tried with something that does not speak it."""
    return RegistryUnreachableError(
        f"The registry {host} speaks no TLS: {tried}. If it is to be spoken to by plain http, set plain_http=True, and "
        f"{for_engine(host)}; else look at the port."
    )


def distrusted(host: str, reason: str) -> RegistryUnreachableError:
    """TLS, with a certificate that is not trusted."""
    return RegistryUnreachableError(
        f"The certificate of the registry {host} is not trusted: https was tried ({reason}). If an authority of your "
        f"own signed it, put that authority's certificate in /etc/docker/certs.d/{host}/ca.crt, on this machine and on "
        "the engine's; if it is signed by itself, put it there."
    )


def silent(host: str, tried: str, reason: str) -> RegistryUnreachableError:
    """Nothing answered."""
    return RegistryUnreachableError(
        f"The registry {host} does not answer: {tried} was tried ({reason}). Look at its address, and whether it and "
        "the network are up."
    )


def broken(host: str, what: str, said: str) -> RegistryUnreachableError:
    """It answers that it cannot now."""
    return RegistryUnreachableError(
        f"The registry {host} is overloaded or broken: asked to {what} it answers {said}. Try again later."
    )


def without_token(host: str, realm: str, exc: Exception) -> RegistryUnreachableError:
    """Its token server did not answer, or has a certificate that is not trusted."""
    tls = _cause(exc, ssl.SSLCertVerificationError)
    reason = f"its certificate is not trusted: {tls.verify_message}" if tls else _reason(exc)
    return RegistryUnreachableError(
        f"The registry {host} sends everybody to the token server {realm}, which does not answer ({reason}). Look "
        "whether it and the network are up, and whether this machine trusts its certificate (SSL_CERT_FILE)."
    )


def encrypted(host: str) -> RegistryUnreachableError:
    """Plain HTTP was tried with something that speaks TLS."""
    return RegistryUnreachableError(f"The registry {host} speaks https: http was tried. Leave plain_http=True away.")


def refused(host: str, source: str | None) -> RegistryAccessError:
    """It does not let us in."""
    if source is None:
        return RegistryAccessError(
            f"The registry {host} wants credentials. Log in with `docker login {host}`, or give username= and "
            'password=Secret("env:REGISTRY_PASSWORD").'
        )
    return RegistryAccessError(
        f"The registry {host} refuses the credentials of {source}. Look at them: are they of this registry, and not "
        "expired?"
    )


def forbidden(host: str, what: str, source: str | None) -> RegistryAccessError:
    """It knows who we are, and does not let us do this."""
    who = f"whoever has the credentials of {source}" if source else "whoever has no credentials"
    return RegistryAccessError(
        f"The registry {host} forbids {who} to {what}. Have that allowed there, or use other credentials."
    )


def explained(exc: Exception, connection: Connection, scheme: str) -> RegistryUnreachableError:
    """What to say of a request that got no answer."""
    host, reason = connection.host, _reason(exc)
    tls = _cause(exc, ssl.SSLError)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return distrusted(host, tls.verify_message)
    if tls is not None and any(each in str(tls).lower() for each in NO_TLS):
        return plain(host)
    return silent(host, scheme if scheme == connection.schemes[0] else " and ".join(connection.schemes), reason)


def unexpected(answer: Answer, connection: Connection, what: str) -> RegistryError:
    """What to say of an answer that is none of those that the request may have."""
    host = connection.host
    if answer.status == 401:
        return refused(host, connection.source)
    if answer.status == 403:
        return forbidden(host, what, connection.source)
    if answer.status == 400 and b"HTTP request to an HTTPS server" in answer.body:
        return encrypted(host)
    if answer.status == 429 or answer.status >= 500:
        return broken(host, what, str(answer.status))
    said = f" ({', '.join(filter(None, codes(answer.body)))})" if codes(answer.body) else ""
    return RegistryError(
        f"The registry {host}, asked to {what}, answers {answer.status}{said}, which is not what a registry answers. "
        "Look at its address."
    )


def codes(body: bytes) -> list[str]:
    """The codes in a registry's answer, as `NAME_UNKNOWN`."""
    try:
        errors = json.loads(body)["errors"]
        return [str(each["code"]) for each in errors]
    except (ValueError, KeyError, TypeError):
        return []


def is_refusal(exc: BaseException) -> bool:
    """Whether nobody was there to answer, so that another protocol makes no difference."""
    return _cause(exc, ConnectionRefusedError) is not None or _named(exc, "NameResolutionError", "ConnectTimeoutError")


def _named(exc: BaseException, *names: str) -> bool:
    return any(type(each).__name__ in names for each in _chain(exc))


def _cause(exc: BaseException, kind: type[BaseException]) -> Any:
    return next((each for each in _chain(exc) if isinstance(each, kind)), None)


def _chain(exc: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while exc is not None and exc not in found:
        found += [exc, *(each for each in exc.args if isinstance(each, BaseException))]
        exc = exc.__cause__ or exc.__context__
    return found


def _reason(exc: BaseException) -> str:
    """What the system said, else the name of the error; not the URL, which the message says."""
    said = next((str(each.strerror) for each in _chain(exc) if isinstance(each, OSError) and each.strerror), "")
    return said or type(exc).__name__
