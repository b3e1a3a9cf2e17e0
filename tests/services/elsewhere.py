"""A store that counts as one elsewhere, and how much is transferred from and to it."""

from __future__ import annotations

import attrs

from drystone.testing import MemoryArtifactStore


@attrs.frozen(kw_only=True)
class Elsewhere(MemoryArtifactStore):
    """A store in memory that is taken for a remote one.

    Attributes:
        moved: Bytes that went up and down, and the number of requests that read.
    """

    moved: dict[str, int] = attrs.field(factory=lambda: {"up": 0, "down": 0, "requests": 0}, eq=False)

    @property
    def is_remote(self) -> bool:
        """As a bucket is."""
        return True

    def read_range(self, key: str, start: int, length: int | None) -> bytes:
        """Bytes, counted."""
        data = super().read_range(key, start, length)
        self.moved["down"] += len(data)
        self.moved["requests"] += 1
        return data

    def write(self, key: str, data: bytes) -> None:
        """Store bytes, counted."""
        self.moved["up"] += len(data)
        super().write(key, data)
