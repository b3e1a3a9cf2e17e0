"""Files of artifacts: small ones are made in memory, large ones on the disk."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from drystone import BlobWriter

SMALL = 1 << 20
"""Values up to this many bytes are written from memory: a file of their own would cost more than they do."""


def write_file(writer: BlobWriter, path: str, size: int, write: Callable[[Any], object]) -> None:
    """Write one file with a function that takes a path or something like an open file.

    Args:
        writer: Takes the file.
        path: Its path in the artifact.
        size: About how many bytes it will have.
        write: Called with where to write.
    """
    if size <= SMALL:
        buffer = io.BytesIO()
        write(buffer)
        writer.write(path, buffer.getvalue())
        return
    with writer.file(path) as target:
        write(str(target))
