"""Dockerfiles: a project's own, built by the engine for an image to start from."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from drystone_docker.builds import SHOWN, failed, show
from drystone_docker.engines import Engine
from drystone_docker.failures import translated


def digest_of(file: Path) -> str:
    """What a Dockerfile's image is known by: the file, and all in its folder that `.dockerignore` lets through."""
    whole = hashlib.sha256(file.name.encode())
    for path in _context(file):
        each = file.parent / path
        content = hashlib.sha256(each.read_bytes()).hexdigest() if each.is_file() else ""
        whole.update(f"{path}\0{each.lstat().st_mode & 0o111 != 0}\0{content}\n".encode())
    return f"dockerfile:{whole.hexdigest()}"


def _context(file: Path) -> list[str]:
    from docker.utils.build import exclude_paths  # noqa: PLC0415 - when an engine is used, and never before

    ignore = file.parent / ".dockerignore"
    lines = ignore.read_text().splitlines() if ignore.is_file() else []
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return sorted(exclude_paths(str(file.parent), patterns, dockerfile=file.name))


def build(engine: Engine, file: Path, platform: str | None) -> str:
    """Build a Dockerfile with its folder as the context; the id of its image.

    The engine keeps its layers, so what did not change is not built again.

    Raises:
        ImageBuildError: Names the instruction that failed, and shows the last of the output.
        EngineError: The engine does not answer.
    """
    from docker.errors import APIError  # noqa: PLC0415 - when an engine is used, and never before

    show(f"Building {file}")
    with translated(engine.address, f"build {file}"):
        try:
            chunks = engine.api.build(
                path=str(file.parent), dockerfile=file.name, rm=True, forcerm=True, decode=True, platform=platform
            )
            return _followed(chunks, file)
        except APIError as exc:  # it did not even begin, as when an instruction is none
            raise failed(f"{file} was refused", [str(exc.explanation or exc)]) from exc


def _followed(chunks: Iterable[dict[str, Any]], file: Path) -> str:
    kept: deque[str] = deque(maxlen=SHOWN)
    step, id_, error = "", "", ""
    for chunk in chunks:
        for line in str(chunk.get("stream", "")).strip("\n").splitlines():
            step = line.partition(" : ")[2] if line.startswith("Step ") else step
            kept.append(line)
            show(line)
        id_ = chunk.get("aux", {}).get("ID", id_)
        error = str(chunk.get("error", error))
    if error:
        at = f" at its instruction {step!r}" if step else ""
        raise failed(f"{file} failed{at}", [*kept, error])
    return id_
