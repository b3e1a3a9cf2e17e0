"""Lists that are stored part by part: each member by itself, and one file that says what each of them consists of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs

from drystone.artifact_stores import ArtifactStore
from drystone.artifacts import Blob, Manifest
from drystone.blobs import BlobReader, store_bytes
from drystone.digests import digest_bytes, type_name
from drystone.values import dumps

NAME, VERSION = "parts", 1
"""What stands for a materializer in the manifest of such a list."""

TABLE = "parts.json"
"""The file that says what each part consists of; the files of part 3 are below `3/`."""

TYPES = {type_name(kind): kind for kind in (list, tuple)}
"""What is stored like this, by its type in a manifest."""


def digest_of(*strings: str) -> str:
    """The digest of some strings, each framed by its length."""
    return digest_bytes("".join([f"{len(each)}:{each}" for each in strings]).encode("utf-8", "surrogatepass"))


def joined(parts: Sequence[Manifest], kind: type = list, store: ArtifactStore | None = None) -> Manifest:
    """The list of some parts, which are stored already.

    Args:
        parts: What its members consist of.
        kind: `list` or `tuple`.
        store: Takes the file that describes the parts; without one, this is only what the list would be.
    """
    blobs = [
        Blob(f"{place}/{blob.path}", blob.digest, blob.size) for place, each in enumerate(parts) for blob in each.blobs
    ]
    if store is not None:
        table = dumps([_row(each) for each in parts]).encode("utf-8", "surrogatepass")
        blobs.append(Blob(TABLE, store_bytes(store, table), len(table)))
    name = type_name(kind)
    return Manifest(
        digest=digest_of(name, NAME, str(VERSION), *(each.digest for each in parts)),
        type=name,
        materializer=NAME,
        materializer_version=VERSION,
        blobs=tuple(blobs),
        store=store.identity if store is not None else "",
        provider="drystone-core",
        inside=tuple(dict.fromkeys(maker for each in parts for maker in (each.maker, *each.inside))),
    )


def split(manifest: Manifest, store: ArtifactStore) -> list[Manifest]:
    """The parts of such a list, without reading any of their values.

    Raises:
        BlobLostError: What describes them is missing or damaged.
    """
    rows = json.loads(BlobReader(store, manifest).read(TABLE).decode("utf-8", "surrogatepass"))
    return [_part(row, manifest) for row in rows]


def brief(manifest: Manifest) -> Manifest:
    """A manifest with no more than reading needs: of a list, what describes its parts."""
    if manifest.materializer != NAME:
        return manifest
    return attrs.evolve(manifest, blobs=tuple(blob for blob in manifest.blobs if blob.path == TABLE))


def _row(part: Manifest) -> list[Any]:
    blobs = [[blob.path, blob.digest, blob.size] for blob in part.blobs]
    return [part.digest, part.type, *part.maker, blobs, part.provider, part.trusted, part.allow_pickle, part.inside]


def _part(row: list[Any], whole: Manifest) -> Manifest:
    digest, kind, materializer, version, blobs, provider, trusted, allow_pickle, inside = row
    return Manifest(
        digest=digest,
        type=kind,
        materializer=materializer,
        materializer_version=version,
        blobs=tuple(Blob(*blob) for blob in blobs),
        store=whole.store,
        copies=whole.copies,
        provider=provider,
        trusted=tuple(trusted),
        allow_pickle=allow_pickle,
        inside=tuple((name, number) for name, number in inside),
    )
