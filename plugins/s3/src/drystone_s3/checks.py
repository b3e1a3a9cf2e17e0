"""What keeps a bucket from being used, found by using it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from drystone.errors import ArtifactStoreError, StackError, StoreAccessError

if TYPE_CHECKING:
    from drystone_s3.artifact_store import S3ArtifactStore

SKEW = 300.0
"""Seconds that the clocks of this machine and of the service may differ; S3 refuses requests at 900."""


def problems(store: S3ArtifactStore) -> Iterator[str]:
    """A sentence for everything that is wrong. What is stored for that is removed."""
    key = f"checks/{os.urandom(8).hex()}"
    trials: list[tuple[str, Callable[[], str | None]]] = [
        ("read", lambda: _read(store, key)),
        ("listed", lambda: _listed(store, key)),
        ("written to", lambda: _written(store, key)),
        ("deleted from", lambda: store.delete(key)),
    ]
    for what, trial in trials:
        try:
            if found := trial():
                yield found
        except StoreAccessError as exc:
            yield f"It cannot be {what}: {exc}"
            if not _is_denial(exc):
                return  # so nothing else can be done, and for the same reason
        except (ArtifactStoreError, StackError) as exc:
            yield str(exc)
            return


def _is_denial(exc: StoreAccessError) -> bool:
    return "access denied" in str(exc)


def _read(store: S3ArtifactStore, key: str) -> str | None:
    with suppress(FileNotFoundError):
        store.read_range(key, 0, None)
    ahead = time.time() - store.now()
    if abs(ahead) < SKEW:
        return None
    return (
        f"The clock of this machine is {abs(ahead):.0f} seconds {'ahead of' if ahead > 0 else 'behind'} that of "
        f"{store.root}; with 900 every request is refused. Set it right, as with NTP."
    )


def _listed(store: S3ArtifactStore, key: str) -> None:
    [*store.list(key)]


def _written(store: S3ArtifactStore, key: str) -> str | None:
    """Write, read back, and find out whether of two writers one is refused."""
    store.write(key, b"check")
    if store.read_range(key, 0, None) != b"check":
        return f"{store.root} does not give back what was written to it."
    with suppress(FileExistsError):
        store.create(key, b"again")
        return (
            f"{store.root} can keep artifacts and no workspace: of two that create one object both succeed. The server "
            "ignores If-None-Match; use a newer version of it, or another."
        )
    store.abandon_unfinished()
    return None
