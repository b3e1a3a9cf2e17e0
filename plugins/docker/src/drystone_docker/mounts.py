"""What containers see of this machine: its files, its network, its certificates."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from drystone import ArtifactStore, Secret, blob_cache
from drystone.errors import StackError, listed
from drystone_docker.addresses import is_loopback
from drystone_docker.engines import Engine

CERTIFICATES = "/etc/drystone-certificates.pem"
"""Where containers find the certificates that this machine trusts."""

CACHE = "/var/cache/drystone"
"""Where containers find the cache of blobs of whoever runs them."""

TRUSTING = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
"""Variables by which libraries learn which certificates to trust."""


@attrs.frozen
class Bind:
    """A file or directory of the engine's machine, as a container sees it."""

    source: str
    target: str
    is_read_only: bool = False


@attrs.frozen
class Surroundings:
    """What a container sees of this machine.

    Attributes:
        binds: Files and directories.
        network: The name of a network, or None for the engine's own.
        variables: What has to be set for that.
    """

    binds: tuple[Bind, ...] = ()
    network: str | None = None
    variables: Mapping[str, str] = attrs.field(factory=dict)

    def of_host(self) -> dict[str, Any]:
        """As docker-py takes them."""
        from docker.types import Mount  # noqa: PLC0415 - takes 0.2 s

        mounts = [Mount(each.target, each.source, type="bind", read_only=each.is_read_only) for each in self.binds]
        return {"mounts": mounts} | ({"network_mode": self.network} if self.network else {})


def surroundings(
    engine: Engine, store: ArtifactStore | None, volumes: Mapping[str, str], network: str | None, root: Path
) -> Surroundings:
    """What containers of an engine are to see.

    Args:
        engine: Where they run.
        store: The artifact store that their code uses.
        volumes: Paths in containers by paths of this machine.
        network: What the setting says.
        root: What relative paths start from.

    Raises:
        StackError: A path is not there, or a service of this machine is out of reach. Lists all problems.
    """
    problems = [*_missing(engine, volumes, root), *out_of_reach(engine, store, network)]
    if problems:
        raise StackError(listed(problems))
    binds = {bind.target: bind for bind in (*_of_store(engine, store), *_chosen(volumes, root))}
    certificates = _certificates(engine)
    if certificates:
        binds[CERTIFICATES] = Bind(certificates, CERTIFICATES, is_read_only=True)
    variables = dict.fromkeys(TRUSTING, CERTIFICATES) if certificates else {}
    if _shares_cache(engine, store):
        variables["DRYSTONE_CACHE"] = CACHE
    return Surroundings(tuple(binds.values()), _network(store, network), variables)


def _chosen(volumes: Mapping[str, str], root: Path) -> Iterator[Bind]:
    for source, text in volumes.items():
        target, _, mode = text.partition(":")
        yield Bind(os.path.abspath(root / os.path.expanduser(source)), target.rstrip("/") or "/", mode == "ro")


def _missing(engine: Engine, volumes: Mapping[str, str], root: Path) -> Iterator[str]:
    for bind in _chosen(volumes, root) if engine.is_here else ():
        if not os.path.exists(bind.source):
            yield f"volumes names {bind.source}, which is not there. Make it first, or the engine would, as root's."


def folder_of(store: ArtifactStore | None) -> Path | None:
    """Where a store keeps its files, if that is a directory of this machine."""
    if store is None:
        return None
    file = store.local_path("x")
    if file is not None:
        return file.parent
    return next((Path(text.removeprefix("file://")) for _, text in _texts(store) if text.startswith("file:///")), None)


def _of_store(engine: Engine, store: ArtifactStore | None) -> Iterator[Bind]:
    """The store's directory, at the same path; else the cache of what comes from the store, where it can be shared."""
    folder = folder_of(store)
    if folder is not None and engine.is_here:
        folder.mkdir(parents=True, exist_ok=True)  # or the engine would, as root's
        yield Bind(str(folder), str(folder))
    elif _shares_cache(engine, store):
        cache = blob_cache().root
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        yield Bind(str(cache), f"{CACHE}/{cache.name}")


def _shares_cache(engine: Engine, store: ArtifactStore | None) -> bool:
    """Whether containers can have the cache of blobs; its locks do not reach into a virtual machine."""
    return store is not None and folder_of(store) is None and engine.shares_kernel and blob_cache().limit > 0


def _certificates(engine: Engine) -> str | None:
    """The file of certificates that this machine was told to trust, where containers can have it."""
    file = os.environ.get("SSL_CERT_FILE")
    return os.path.realpath(file) if file and engine.is_here and os.path.isfile(file) else None


def _network(store: ArtifactStore | None, network: str | None) -> str | None:
    return "host" if network is None and [*_loopbacks(store)] else network


def out_of_reach(engine: Engine, store: ArtifactStore | None, network: str | None) -> Iterator[str]:
    """A sentence for each service of this machine that the store needs, and that containers do not reach."""
    if network is not None or engine.shares_network:
        return
    elsewhere, way_out = "on another machine", "Write an address that both machines reach"
    if engine.is_here:
        elsewhere = "in a network of their own"
        way_out = "Write an address of this machine that is no loopback one, and let the service listen there"
    if engine.is_virtual and engine.is_here:
        way_out = "Write host.docker.internal, which needs an entry in the hosts file of this machine, too"
    for name, url in _loopbacks(store):
        yield (
            f"The artifact store's {name}={url!r} leads to this machine, and containers run {elsewhere}, where it "
            f"leads to themselves. {way_out}; or set network=."
        )


def _loopbacks(store: ArtifactStore | None) -> Iterator[tuple[str, str]]:
    """The settings of a store that lead to this machine."""
    for name, text in _texts(store):
        if "://" in text and not text.startswith("file:") and is_loopback(urlsplit(text).hostname):
            yield name, text


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a setting, with the name of what it is in."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _texts(each, str(key))
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _texts(each, name)
    elif attrs.has(type(value)) and not isinstance(value, Secret):
        for field in attrs.fields(type(value)):
            yield from _texts(getattr(value, field.name), field.name)
