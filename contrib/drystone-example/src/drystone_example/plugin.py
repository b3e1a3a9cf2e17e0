"""What this plugin offers, and what it listens to."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from drystone import StackComponent, hookimpl
from drystone_example.artifact_store import SqliteArtifactStore
from drystone_example.orchestrator import ThreadPoolOrchestrator

if TYPE_CHECKING:
    import click

    from drystone import ArtifactVersion, StageMove

log = logging.getLogger("drystone_example")


@hookimpl
def drystone_components() -> list[type[StackComponent]]:
    """An artifact store and an orchestrator."""
    return [SqliteArtifactStore, ThreadPoolOrchestrator]


@hookimpl
def drystone_commands() -> list[click.Command]:
    """`drystone compact`, imported only when the command line asks."""
    from drystone_example.commands import compact

    return [compact]


@hookimpl
def drystone_artifact_saved(artifact_version: ArtifactVersion) -> None:
    """Log what is stored, and how large it is."""
    log.debug("%s has %d bytes", artifact_version, artifact_version.size)


@hookimpl
def drystone_model_promoted(stage_move: StageMove) -> None:
    """Log who holds a stage now."""
    log.info("%s %s is %s now, says %s", stage_move.model, stage_move.number, stage_move.stage, stage_move.author)
