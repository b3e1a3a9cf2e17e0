"""A registry that speaks OCI's distribution API: Docker's own, Docker Hub, ghcr.io, those of the clouds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import attrs

import drystone
from drystone import Secret
from drystone.errors import ImageNotFoundError
from drystone_registry import distribution, engines, settings
from drystone_registry.checks import problems
from drystone_registry.connections import Connection

LATEST = "latest"
"""The tag of a name that has none."""


@attrs.frozen
class ContainerRegistry(drystone.ContainerRegistry):
    """Keeps images in any OCI registry; they come and go through a Docker engine.

    Without `username` and `password`, credentials are those that `docker login` has stored, or that the credential
    helpers of `~/.docker/config.json` give; without any, nobody is told who asks.

    A pushed image keeps its name in the engine, as after `docker push`.

    Attributes:
        uri: The registry, and the path below which images are kept: `localhost:5000/team`, `ghcr.io/team`.
        username: Who is let in; `password` is the password, or a token that stands for it.
        plain_http: Whether http is spoken, without TLS. By default only to a registry on this machine that speaks no
            TLS, as Docker does, for which the certificate of such a registry does not matter either.
    """

    name: ClassVar[str] = "oci"

    uri: str = attrs.field(converter=settings.without_slash, validator=settings.check_uri)
    username: str | None = attrs.field(default=None, kw_only=True)
    password: Secret | None = attrs.field(default=None, kw_only=True, validator=settings.check_secret)
    plain_http: bool | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        settings.check_together(self)

    @property
    def capabilities(self) -> frozenset[str]:
        """It lists and deletes; a registry that was set up to forbid deletes says so when it is asked."""
        return frozenset({"list", "delete"})

    def check(self) -> Iterator[str]:
        """Whether it answers, takes the credentials and would take an image; and whether the engine would push it."""
        yield from problems(self)

    def push(self, image: str, name: str, *, engine: Any = None) -> str:
        """Store an image of the engine; the engine calls it by that name from then on."""
        repository, tag, digest = self._split(name)
        if digest:
            raise ValueError(f"{name!r} has a digest, which is what a push returns. Give it a tag, as 'flights:3fa2'.")
        local = f"{self.uri}/{repository}"
        with engines.engine(engine) as client:
            pushed = engines.push(client, image, local, tag, self)
        return f"{local}@{pushed}"

    def pull(self, name: str, *, engine: Any = None) -> str:
        """Give an image to the engine, by digest: a tag that moves meanwhile does not matter."""
        repository, _, digest = self._split(name)
        digest = digest or self.digest(name) or ""
        if not digest:
            raise ImageNotFoundError(f"The registry {self.uri} has no image {name!r}. Push it first.")
        with engines.engine(engine) as client:
            return engines.pull(client, f"{self.uri}/{repository}", digest, self)

    def digest(self, name: str) -> str | None:
        """The digest of an image."""
        with self._asking(name) as (connection, repository, reference):
            return distribution.digest(connection, repository, reference)

    def labels(self, name: str) -> Mapping[str, str] | None:
        """The labels of an image, from its configuration in the registry."""
        with self._asking(name) as (connection, repository, reference):
            return distribution.labels(connection, repository, reference)

    def tags(self, repository: str) -> list[str]:
        """The tags in a repository."""
        with self._asking(repository) as (connection, path, _):
            return distribution.tags(connection, path)

    def delete(self, name: str) -> None:
        """Remove an image with all its tags.

        Raises:
            CapabilityError: The registry forbids it.
        """
        with self._asking(name) as (connection, repository, reference):
            distribution.delete(connection, repository, reference)

    def _split(self, name: str) -> tuple[str, str, str]:
        """The repository below `uri`, the tag and the digest of a name, one of which is empty."""
        own = self.reference(name).removeprefix(f"{self.uri}/")
        repository, _, digest = own.partition("@")
        repository, _, tag = repository.partition(":")
        return repository, "" if digest else tag or LATEST, digest

    @contextmanager
    def _asking(self, name: str) -> Iterator[tuple[Connection, str, str]]:
        """A connection, the repository as the registry calls it, and the tag or digest."""
        repository, tag, digest = self._split(name)
        path = "/".join(filter(None, (settings.split(self.uri)[1], repository)))
        with Connection(self) as connection:
            yield connection, path, digest or tag
