"""Holdings: stored bytes that a run can read, be it from its own store or from others within reach."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from typing import Any

from drystone.artifact_stores import SHARED, ArtifactStore
from drystone.artifacts import ArtifactVersion, Blob, Manifest
from drystone.blobs import blob_key
from drystone.errors import ArtifactStoreError
from drystone.events import Event
from drystone.parts import brief, split
from drystone.records import PART
from drystone.shipments import copied
from drystone.stores import is_shared
from drystone.transfers import AT_ONCE
from drystone.workspaces import View, Workspace


class Holdings:
    """What one run, or one plan, finds in artifact stores.

    Of a store that other machines share it is believed that it holds what is recorded, since looking costs a round
    trip for each blob, until somebody is about to read it: `doubts` is told. All else is looked at.

    Args:
        workspace: Knows the stores.
        store: Where bytes have to be.
        copies: Whether what only another store within reach has is copied; else it only counts as there.

    Attributes:
        lists: The parts of lists that are known, by the lists' digests.
        believes: Whether what is recorded of the store is believed.
    """

    def __init__(self, workspace: Workspace, store: ArtifactStore, *, copies: bool) -> None:
        self.store = store
        self.lists: dict[str, Sequence[Manifest]] = {}
        self._workspace = workspace
        self._copies = copies
        self._readable: set[str] = set()
        self.believes = SHARED in store.capabilities
        self._looked_at: set[str] = set()
        self._found: list[tuple[str, int]] = []

    @cached_property
    def _missed(self) -> set[str]:
        """Digests of blobs that are not to be believed in."""
        with self._workspace.reading() as records:
            return records.index.missed(self.store.identity)

    def load(self, manifest: Manifest) -> Any:
        """The value of something stored, wherever that is."""
        return self._workspace.materializers.load(manifest, self._holder(manifest))

    def parts(self, manifest: Manifest) -> Sequence[Manifest]:
        """The parts of a list, which are looked up once."""
        if manifest.digest not in self.lists:
            self.lists[manifest.digest] = split(manifest, self._holder(manifest))
        return self.lists[manifest.digest]

    def _holder(self, manifest: Manifest) -> ArtifactStore:
        wanted = self._missing(brief(manifest).blobs)
        others = self._others(manifest) if wanted else iter(())
        return next((each for each in others if _has(each, wanted)), self.store)

    def _others(self, manifest: Manifest) -> Iterator[ArtifactStore]:
        found = self._workspace.stores_for(manifest.stores)
        return (each for each in found if each.identity != self.store.identity)

    def _missing(self, blobs: Iterable[Blob]) -> list[Blob]:
        return _lacking(self.store, blobs)

    def unreadable(self, version: ArtifactVersion) -> str | None:
        """Why stored bytes are out of reach, or None."""
        manifest = version.manifest
        if manifest.digest in self._readable or self._is_believed(manifest):
            return None
        missing = self._missing(manifest.blobs)
        if missing and (problem := self._unreached(manifest, missing)):
            return self._where(version, problem)
        self._readable.add(manifest.digest)
        if self.store.identity not in manifest.stores and version.kind != PART:
            self._found.append((version.name, version.version))
        return None

    def _is_believed(self, manifest: Manifest) -> bool:
        """Whether it is recorded that the store has it, and nobody has found anything else."""
        if not self.believes or self.store.identity not in manifest.stores or manifest.digest in self._looked_at:
            return False
        return self._missed.isdisjoint(blob.digest for blob in manifest.blobs)

    def doubts(self, manifests: Iterable[Manifest]) -> bool:
        """Look at what is about to be read and was only believed in; whether any of it turns out to be lost."""
        doubted = {each.digest: each for each in manifests if self._is_believed(each)}
        if not doubted:
            return False
        self._looked_at.update(doubted)
        blobs = {blob.digest: blob for each in doubted.values() for blob in each.blobs}
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="drystone-holdings") as pool:
            lost = {
                each.digest for found in pool.map(self._missing, ([blob] for blob in blobs.values())) for each in found
            }
        self._missed.update(lost)
        gone = {digest for digest, each in doubted.items() if not lost.isdisjoint(blob.digest for blob in each.blobs)}
        self._readable.update(doubted.keys() - gone)
        if self._copies:
            self._workspace.note_missed(self.store, lost)
        return bool(gone)

    def findings(self) -> Callable[[View], list[Event]]:
        """What else the store was found to hold since this was last asked, for the ledger."""
        found, self._found = self._found, []
        return lambda view: copied(view, self.store, found)

    def _unreached(self, manifest: Manifest, blobs: list[Blob]) -> str:
        """Why other stores do not have some blobs; they are copied from there if that is wanted."""
        if self._copies:
            wanted = [(manifest.stores, blob.digest, blob.size) for blob in blobs]
            return "; ".join(dict.fromkeys(self._workspace.deliver(wanted, self.store).lost.values()))
        problems: list[str] = []
        for other in self._others(manifest):
            try:
                blobs = _lacking(other, blobs)
            except ArtifactStoreError as exc:
                problems.append(str(exc))
            else:
                problems.append(f"{other.identity} lacks it")
        return "; ".join(problems) or "no store within reach has it" if blobs else ""

    def _where(self, version: ArtifactVersion, problem: str) -> str:
        """Where stored bytes are instead, or should be."""
        manifest = version.manifest
        if self.store.identity in manifest.stores:
            return "its blobs are missing or damaged in the artifact store"
        within_reach = {each.identity for each in self._workspace.stores_for(manifest.stores)}
        if not within_reach.isdisjoint(manifest.stores):
            return f"its blobs cannot be had: {problem.rstrip('.')}"
        where = f"the artifact store {' and '.join(manifest.stores)}"
        if not any(map(is_shared, manifest.stores)) and (host := self._host(version)):
            where = f"the local store of {host}"
        return f"its blobs are only in {where}, which is out of reach"

    def _host(self, version: ArtifactVersion) -> str:
        """The machine of the run that made a version."""
        run = version.produced_by[0] if version.produced_by is not None else ""
        with self._workspace.reading() as records:
            return str((records.index.get("run", run) or {}).get("host", ""))


def _lacking(store: ArtifactStore, blobs: Iterable[Blob]) -> list[Blob]:
    """The blobs that a store has not got."""
    return [blob for blob in blobs if store.size(blob_key(blob.digest)) != blob.size]


def _has(store: ArtifactStore, blobs: Iterable[Blob]) -> bool:
    """Whether a store can be asked, and has got some blobs."""
    with suppress(ArtifactStoreError):
        return not _lacking(store, blobs)
    return False
