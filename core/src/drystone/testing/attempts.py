"""What contracts try, here and in other processes, and how they tell whether it went well."""

from __future__ import annotations

import hashlib
import json
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drystone.artifact_stores import CREATE, ArtifactStore


def content(seed: str, size: int) -> bytes:
    """Bytes that differ from seed to seed, and do not repeat with any chunk."""
    return hashlib.shake_128(seed.encode()).digest(size)


def digest(data: bytes) -> str:
    """What tells bytes from each other."""
    return hashlib.blake2b(data).hexdigest()


def written(file: Path, data: bytes) -> Path:
    """A file with these bytes."""
    file.write_bytes(data)
    return file


def needs(store: ArtifactStore, capability: str) -> None:
    """Skip a test of what the store says it cannot do; that it refuses it is another test."""
    if capability not in store.capabilities:
        pytest.skip(f"The store does not declare {capability!r}.")


def assert_stored(store: ArtifactStore, key: str, data: bytes) -> None:
    """Everything that a store says of a key fits these bytes."""
    assert store.exists(key), f"{key!r} is not there"
    assert store.size(key) == len(data), f"size({key!r}) is {store.size(key)}, not {len(data)}"
    read = store.read_range(key, 0, None)
    assert len(read) == len(data), f"{key!r} reads as {len(read)} bytes of {len(data)}"
    assert digest(read) == digest(data), f"{key!r} does not read as what was stored"


def raises(expected: type[Exception], call: Callable[[], object]) -> bool:
    """Whether a call raises that."""
    try:
        call()
    except expected:
        return True
    except Exception:
        return False
    return False


@contextmanager
def quick_switches() -> Iterator[None]:
    """Let threads take turns so often that races show."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def visit(store: ArtifactStore) -> None:
    """Read what the parent wrote, and answer it."""
    store.write("from/child", store.read_range("from/parent", 0, None) + b", and back")
    print(store.identity)  # noqa: T201 - the parent reads it


def upload(store: ArtifactStore, file: str, key: str) -> None:
    """Upload a file, after saying so."""
    print("now", flush=True)  # noqa: T201 - the parent waits for it
    store.upload(Path(file), key)


def fill(store: ArtifactStore, file: str, key: str) -> None:
    """Store a large file in every way, where no file may be large."""
    data = Path(file).read_bytes()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    ways: dict[str, Callable[[], object]] = {
        "upload": lambda: store.upload(Path(file), key),
        "write": lambda: store.write(key, data),
    }
    if CREATE in store.capabilities:
        ways["create"] = lambda: store.create("created", data)
    print(json.dumps({way: "refused" if raises(OSError, call) else "accepted" for way, call in ways.items()}))  # noqa: T201
