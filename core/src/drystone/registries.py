"""Container registries: where images are, how they are called, and which of them are on this machine."""

from __future__ import annotations

import ipaddress
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

import attrs

from drystone.components import StackComponent
from drystone.errors import CapabilityError

LIST, DELETE = "list", "delete"
"""What a container registry may say that it is capable of."""

_IMAGE = re.compile(
    r"(?P<repository>[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)


@attrs.frozen(kw_only=True)
class ContainerRegistry(StackComponent, ABC):
    """Holds container images; orchestrators that run containers push to it and pull from it.

    An image is called `flights:3fa2` or, by its digest, `flights@sha256:…`, below the registry's `uri`. A tag can be
    moved to another image, a digest is one image for ever, so `push` returns the reference by digest, and that is what
    is recorded and run::

        reference = registry.push("sha256:4bc5…", "flights:3fa2")   # localhost:5000/team/flights@sha256:…
        registry.digest("flights:3fa2")                             # sha256:…, or None: it has to be built
        image = registry.pull(reference)                            # the engine knows it now, by this id

    Credentials are settings of type `Secret`. Whatever a registry is asked raises `RegistryUnreachableError` if it does
    not answer and `RegistryAccessError` if it refuses the credentials; neither message holds a secret. All methods may
    be called from several threads.
    """

    kind: ClassVar[str] = "container_registry"

    @property
    @abstractmethod
    def uri(self) -> str:
        """The registry and the path below which images are kept, as `localhost:5000/team`."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can do beyond what every registry does: `list`, `delete`."""
        return frozenset()

    @abstractmethod
    def push(self, image: str, name: str, *, engine: Any = None) -> str:
        """Store an image that the container engine has; returns its reference by digest.

        A tag in the name is moved to it, whatever it was before.

        Args:
            image: Its id in the engine.
            name: What it is to be called here, as `flights:3fa2`.
            engine: A connection to the engine, as docker-py's `APIClient`; by default to that of this machine.

        Raises:
            ImageNotFoundError: The engine has no such image. Nothing was stored.
            ValueError: That is no name of an image.
        """

    @abstractmethod
    def pull(self, name: str, *, engine: Any = None) -> str:
        """Give an image to the container engine; returns its id there.

        Args:
            name: As `push` returned it, or below `uri`: `flights:3fa2`.
            engine: As for `push`.

        Raises:
            ImageNotFoundError: The registry has no such image.
            ValueError: That is no name of an image, or another registry's.
        """

    @abstractmethod
    def digest(self, name: str) -> str | None:
        """The digest of the image that a name stands for, as `sha256:…`; None if it stands for none."""

    @abstractmethod
    def labels(self, name: str) -> Mapping[str, str] | None:
        """The labels of an image, read where it is: nothing is pulled; None if there is no such image.

        Of an image for several platforms, those of the one for this machine; None if there is none for it.
        """

    def tags(self, repository: str) -> list[str]:
        """The tags in a repository, as `flights`, in order; none if there is no such repository.

        Raises:
            CapabilityError: The registry has not the capability `list`.
        """
        raise self._incapable(LIST, "list tags")

    def delete(self, name: str) -> None:
        """Remove an image, called by tag or digest, with all its tags; nothing happens if there is none.

        Raises:
            CapabilityError: The registry has not the capability `delete`.
        """
        raise self._incapable(DELETE, "delete images")

    def _incapable(self, capability: str, what: str) -> CapabilityError:
        return CapabilityError(
            f"The container registry {self.uri} cannot {what}: it lacks the capability {capability!r}. Use its own "
            "tools for that."
        )

    def reference(self, name: str) -> str:
        """A name below `uri`, or one that has it in front already, with it in front.

        Raises:
            ValueError: That is no name of an image, or another registry's.
        """
        uri = self.uri.rstrip("/")
        own = name.removeprefix(f"{uri}/")
        if not _IMAGE.fullmatch(own) or (own == name and is_host(name.partition("/")[0]) and "/" in name):
            raise ValueError(
                f"{name!r} is no image of the registry {uri}. Write it as 'flights:3fa2' or 'flights@sha256:…': lower "
                "case letters and digits, with '.', '_', '-' and '/' between them."
            )
        return f"{uri}/{own}"

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, by whichever spelling of the loopback address; others cannot reach it there.

        A container engine speaks plain HTTP to such a registry.
        """
        return is_loopback(self.uri.partition("://")[2] or self.uri)


def is_host(text: str) -> bool:
    """Whether the first part of an image's name is a host and no path, by the rule of container engines."""
    return "." in text or ":" in text or text == "localhost"


def is_loopback(address: str) -> bool:
    """Whether an address, as `127.0.0.1:5000/team` or `[::1]`, leads to this machine itself."""
    host = address.partition("/")[0].lower()
    host = host[1:].partition("]")[0] if host.startswith("[") else host
    host = host.partition(":")[0] if host.count(":") == 1 else host
    host = host.rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(ValueError):
        found = ipaddress.ip_address(host)
        found = getattr(found, "ipv4_mapped", None) or found
        return found.is_loopback or found.is_unspecified
    with suppress(OSError):  # as in 127.1, which the system takes for 127.0.0.1
        return host[:1].isdigit() and socket.inet_aton(host)[0] in (0, 127)
    return False
