"""Shipments: stored bytes of a workspace, read from whatever store has them, and copied to where they are wanted."""

from __future__ import annotations

import functools
from abc import ABC
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from drystone.artifact_stores import SHARED, ArtifactStore
from drystone.artifacts import ArtifactVersion
from drystone.blobs import blob_key
from drystone.choices import Stacks
from drystone.components import Place
from drystone.digests import digest_bytes
from drystone.errors import ArtifactStoreError, BlobLostError, DrystoneError, StackError
from drystone.events import Event
from drystone.index import Index
from drystone.materializers import Materializers
from drystone.plugins import load_plugins
from drystone.projects import project_root, workspace_directory
from drystone.promotions import Promotions
from drystone.stacks import Stack
from drystone.store_events import ArtifactsCopied, BlobsMissed
from drystone.stores import Stores, is_shared
from drystone.transfers import Delivery, Parcel, Told, transfer, untold

T = TypeVar("T")

Wanted = Iterable[tuple[Sequence[str], str, int | None]]
"""Blobs: the stores that should hold each, its digest, and its size if that is known."""


class Shipments(Promotions, ABC):
    """What a workspace does with stored bytes."""

    allow_pickle: bool
    _stores: Stores

    # Where they are

    @functools.cached_property
    def materializers(self) -> Materializers:
        """What reads and writes values here."""
        return Materializers(load_plugins().materializers(), allow_pickle=self.allow_pickle)

    @property
    def place(self) -> Place:
        """The project's root and this workspace's directory, for stacks to be used here."""
        root = self.directory.parent if self.directory.name == ".drystone" else project_root()
        return self.place_at(root)

    def place_at(self, root: Path) -> Place:
        """The place for stacks of the project with this root. A copy of a shared ledger can go; values must stay."""
        return Place(root=root, workspace=workspace_directory(root) if self.url else self.directory)

    def bind_store(self, store: ArtifactStore) -> None:
        """Make a store known, so that artifacts in it can be read."""
        self._stores.bind(store)

    def store_for(self, identity: str) -> ArtifactStore:
        """The artifact store of this identity.

        Raises:
            NotFoundError: No stack that is defined here has it.
        """
        return self._stores.found(identity, self.place)

    def stores_for(self, identities: Sequence[str]) -> Iterator[ArtifactStore]:
        """The artifact stores within reach: first those of these identities, then all others."""
        return self._stores.reached(identities, self.place)

    def store_of(self, stack: str | Stack | None) -> ArtifactStore:
        """The artifact store of a stack, by default of the active one.

        Raises:
            StackNotFoundError: There is no such stack.
        """
        chosen = Stacks(self.place.root, load_plugins(), self.published).active(stack)
        store = chosen.at(self.place).artifact_store
        self.bind_store(store)
        return store

    # Reading

    def read_log(self, digest: str, store: str) -> str:
        """The text of a step's log.

        Raises:
            BlobLostError: It is missing or damaged.
        """

        def read(source: ArtifactStore) -> str:
            with suppress(FileNotFoundError):
                data = source.read_range(blob_key(digest), 0, None)
                if digest_bytes(data) == digest:
                    return data.decode("utf-8", "replace")
            raise BlobLostError(f"The log {digest[:12]}… is missing or damaged in the artifact store {store}.")

        return self._read_from_any([store], read)

    def load_version(self, version: ArtifactVersion, **options: Any) -> Any:
        """The value of an artifact version, or the part of it that the options ask for, from any store that has it.

        Raises:
            BlobLostError: Its bytes are missing or damaged.
            NotFoundError: No store that should have them is within reach.
        """
        manifest = version.manifest

        def read(source: ArtifactStore) -> Any:
            try:
                return self.materializers.load(manifest, source, **options)
            except BlobLostError:
                if SHARED in source.capabilities and source.identity in manifest.stores:
                    sizes = {blob.digest: blob.size for blob in manifest.blobs}
                    self.note_missed(source, [each for each in sizes if source.size(blob_key(each)) != sizes[each]])
                raise

        return self._read_from_any(manifest.stores, read)

    def _read_from_any(self, identities: Sequence[str], read: Callable[[ArtifactStore], T]) -> T:
        """What stored bytes say; where a store that should have them has not, the error that it raises."""
        problem: DrystoneError | None = None
        for store in self.stores_for(identities):
            try:
                return read(store)
            except (BlobLostError, ArtifactStoreError) as exc:
                problem = problem or (exc if store.identity in identities else None)
        if problem is None:
            self.store_for(identities[0])
        assert problem is not None
        raise problem

    def note_missed(self, store: ArtifactStore, digests: Collection[str]) -> None:
        """Record that a store lacks blobs that it should hold, if they can be made anew only once that is known.

        Who may not write to the workspace cannot do that, and others will.
        """
        with suppress(DrystoneError):
            if digests and SHARED in store.capabilities:
                self.commit(lambda view: missed(view, store, digests))

    # Copying

    def push(self, versions: Iterable[ArtifactVersion], stack: str | Stack, *, told: Told = untold) -> Delivery:
        """Copy artifact versions into the artifact store of a stack that others can reach, and record that it has them.

        Args:
            versions: Which.
            stack: Its stack.
            told: Is told how far it is.

        Raises:
            StackError: Only this machine can reach the store.
            BlobLostError: Some cannot be had from any store within reach; all others were copied.
        """
        store = self.store_of(stack)
        if not is_shared(store.identity):
            raise StackError(
                f"The artifact store of this stack is {store.identity}, which only this machine can reach. Push to the "
                "stack of a store that others reach; `drystone artifacts pull` brings versions to this machine."
            )
        return self._carry(versions, store, told)

    def pull(
        self, versions: Iterable[ArtifactVersion], stack: str | Stack | None = None, *, told: Told = untold
    ) -> Delivery:
        """Copy artifact versions into the artifact store of a stack, by default the active one.

        Raises:
            BlobLostError: Some cannot be had from any store within reach; all others were copied.
        """
        return self._carry(versions, self.store_of(stack), told)

    def _carry(self, versions: Iterable[ArtifactVersion], target: ArtifactStore, told: Told) -> Delivery:
        chosen = list(versions)
        blobs = ((each.manifest.stores, blob.digest, blob.size) for each in chosen for blob in each.manifest.blobs)
        delivery = self.deliver(blobs, target, told)
        whole = [each for each in chosen if delivery.lost.keys().isdisjoint(b.digest for b in each.manifest.blobs)]
        self.commit(lambda view: copied(view, target, [(each.name, each.version) for each in whole]))
        if delivery.lost:
            others = sorted({str(each) for each in chosen} - {str(each) for each in whole})
            raise BlobLostError(f"{', '.join(others)} cannot be copied to {target.identity}. {delivery.problem}")
        return delivery

    def deliver(self, blobs: Wanted, target: ArtifactStore, told: Told = untold) -> Delivery:
        """Copy blobs into a store from whatever store within reach has them; nothing is recorded."""

        @functools.cache
        def sources(identities: tuple[str, ...]) -> list[ArtifactStore]:
            return [each for each in self.stores_for(identities) if each.identity != target.identity]

        parcels = (Parcel(digest, size, sources(tuple(stores))) for stores, digest, size in blobs)
        return transfer(parcels, target, told)


def copied(view: Index, store: ArtifactStore, versions: Iterable[tuple[str, int]]) -> list[Event]:
    """That a store holds artifact versions, where nobody has said so and others can reach it."""
    new = [each for each in versions if is_shared(store.identity) and not _is_said(view, store.identity, *each)]
    return [ArtifactsCopied(store=store.identity, versions=tuple(new))] if new else []


def _is_said(view: Index, store: str, name: str, version: int) -> bool:
    manifest = (view.get("artifact", f"{name}@{version}") or {"manifest": {"store": store}})["manifest"]
    return store == manifest["store"] or store in manifest.get("copies", ())


def missed(view: Index, store: ArtifactStore, digests: Iterable[str]) -> list[Event]:
    """That a store lacks blobs, where nobody has said so."""
    lost = set(digests)
    new = sorted(lost - view.missed(store.identity)) if lost else []
    return [BlobsMissed(store=store.identity, digests=tuple(new))] if new else []
