"""Holdings: stored bytes that a run can read, be it from its own store or from others within reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drystone.artifacts import Blob, Manifest
from drystone.blobs import BlobReader, BlobWriter, blob_key
from drystone.errors import BlobLostError
from drystone.kinds import ArtifactStore
from drystone.parts import brief, split
from drystone.workspaces import Workspace


class Holdings:
    """What one run, or one plan, finds in artifact stores.

    Args:
        workspace: Knows the stores.
        store: Where bytes have to be.
        copies: Whether what only another store within reach has is copied; else it only counts as there.

    Attributes:
        lists: The parts of lists that are known, by the lists' digests.
    """

    def __init__(self, workspace: Workspace, store: ArtifactStore, *, copies: bool) -> None:
        self.store = store
        self.lists: dict[str, Sequence[Manifest]] = {}
        self._workspace = workspace
        self._copies = copies
        self._readable: set[str] = set()

    def load(self, manifest: Manifest) -> Any:
        """The value of something stored, wherever that is."""
        return self._workspace.materializers.load(manifest, self._holder(manifest))

    def parts(self, manifest: Manifest) -> Sequence[Manifest]:
        """The parts of a list, which are looked up once."""
        if manifest.digest not in self.lists:
            self.lists[manifest.digest] = split(manifest, self._holder(manifest))
        return self.lists[manifest.digest]

    def _holder(self, manifest: Manifest) -> ArtifactStore:
        return self._workspace.store_for(manifest.store) if self._missing(brief(manifest)) else self.store

    def _missing(self, manifest: Manifest) -> list[Blob]:
        return [blob for blob in manifest.blobs if self.store.size(blob_key(blob.digest)) != blob.size]

    def unreadable(self, manifest: Manifest) -> str | None:
        """Why stored bytes are out of reach, or None."""
        if manifest.digest in self._readable:
            return None
        missing = self._missing(manifest)
        if missing and manifest.store == self.store.identity:
            return "its blobs are missing or damaged in the artifact store"
        try:
            if missing and not self._reached(manifest, missing):
                return f"its blobs are missing or damaged in the artifact store {manifest.store}"
        except LookupError:
            return f"its blobs are only in the artifact store {manifest.store}, which is out of reach"
        self._readable.add(manifest.digest)
        return None

    def _reached(self, manifest: Manifest, blobs: list[Blob]) -> bool:
        """Whether another store has some blobs; they are copied from there if that is wanted."""
        other = self._workspace.store_for(manifest.store)
        if not self._copies:
            return all(other.size(blob_key(blob.digest)) == blob.size for blob in blobs)
        reader = BlobReader(other, manifest)
        try:
            for blob in blobs:
                with BlobWriter(self.store).file(blob.path) as spooled:
                    reader.copy(blob.path, spooled)
        except BlobLostError:
            return False
        return True
