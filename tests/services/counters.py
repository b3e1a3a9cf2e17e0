"""A store in a bucket that counts the bytes it moves."""

from __future__ import annotations

from pathlib import Path

import attrs

from drystone_s3 import S3ArtifactStore

MOVED = {"up": 0, "down": 0}
"""Bytes that went to the server and came from it. A store is made anew from its settings wherever a step runs."""


@attrs.frozen
class Counted(S3ArtifactStore):
    """A bucket whose traffic is counted."""

    def upload(self, local_path: Path, key: str) -> None:
        MOVED["up"] += local_path.stat().st_size
        super().upload(local_path, key)

    def write(self, key: str, data: bytes) -> None:
        MOVED["up"] += len(data)
        super().write(key, data)

    def download(self, key: str, local_path: Path) -> None:
        super().download(key, local_path)
        MOVED["down"] += local_path.stat().st_size

    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        data = super().read_range(key, start, length)
        MOVED["down"] += len(data)
        return data
