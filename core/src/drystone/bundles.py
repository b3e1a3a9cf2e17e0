"""Bundles: the code of a project as one archive that travels to where steps run."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from drystone.artifact_stores import ArtifactStore
from drystone.blobs import blob_key, store_bytes


def ship(root: Path, store: ArtifactStore) -> str:
    """Store the project's code; returns the digest of the archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for file in sorted(root.rglob("*.py")):
            archive.add(file, file.relative_to(root).as_posix())
    return store_bytes(store, packed.getvalue())


def unpack(digest: str, store: ArtifactStore, to: Path) -> tuple[Path, ...]:
    """Unpack an archive; returns the directories to import from, the project's root first."""
    with tarfile.open(fileobj=io.BytesIO(store.read_range(blob_key(digest), 0, None))) as archive:
        archive.extractall(to, filter="data")
    return (to,)
