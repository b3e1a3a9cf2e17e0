"""Where an artifact version came from, and where it went."""

from __future__ import annotations

from typing import Any

from drystone.artifacts import ArtifactVersion
from drystone.records import Records


def lineage(records: Records, version: ArtifactVersion, depth: int) -> dict[str, Any]:
    """What an artifact version was made of and what was made of it, as a tree of plain values."""
    return {**_made_of(records, version, depth), "used_by": _made_from(records, version, depth)}


def _made_of(records: Records, version: ArtifactVersion, depth: int) -> dict[str, Any]:
    node: dict[str, Any] = {"artifact": str(version), "type": version.type, "digest": version.digest}
    if version.produced_by is None or depth == 0:
        return {**node, "produced_by": None}
    run, step = version.produced_by
    inputs = records.step(run, step).inputs
    made_of = {place: _made_of(records, each, depth - 1) for place, each in inputs.items()}
    return {**node, "produced_by": {"run": run, "step": step, "inputs": made_of}}


def _made_from(records: Records, version: ArtifactVersion, depth: int) -> list[dict[str, Any]]:
    return [
        {
            "run": run,
            "step": step,
            "outputs": {
                name: {"artifact": str(each), "used_by": _made_from(records, each, depth - 1) if depth > 1 else []}
                for name, each in records.step(run, step).outputs.items()
            },
        }
        for run, step in records.uses(version)
    ]
