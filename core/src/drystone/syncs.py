"""Syncs: new blobs are made to survive a power failure, beside whatever else the driver does."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from drystone.artifact_stores import ArtifactStore
from drystone.blobs import blob_key

SYNC_INTERVAL = 1.0
"""Seconds of new blobs that a power failure may take."""


class Syncs:
    """Flushes blobs of a store each second.

    Args:
        store: Where they are.
        created: Their digests, which are taken from it.
    """

    def __init__(self, store: ArtifactStore, created: list[str]) -> None:
        self._store = store
        self._created = created
        self._synced_at = time.monotonic()

    def sync(self, *, at_once: bool = False) -> None:
        """Flush what is there if it is time, beside whatever comes next; the interpreter waits for that to be done."""
        if self._created and (at_once or time.monotonic() - self._synced_at > SYNC_INTERVAL):
            keys = [blob_key(digest) for digest in dict.fromkeys(self._created)]
            self._created.clear()
            self._synced_at = time.monotonic()
            threading.Thread(target=self._flush, args=(keys,), name="drystone-sync").start()

    def _flush(self, keys: list[str]) -> None:
        with suppress(OSError):  # a blob that a power failure takes counts as lost, and is made anew
            self._store.sync(keys)
