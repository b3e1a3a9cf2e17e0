"""What keeps an engine from being used for steps, found by asking it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from drystone.errors import DrystoneError, StackError
from drystone_docker.bases import base_image, inspected
from drystone_docker.engines import Engine
from drystone_docker.failures import translated
from drystone_docker.images import Image
from drystone_docker.mounts import folder_of

if TYPE_CHECKING:
    from drystone_docker.orchestrator import DockerOrchestrator

LEAST = 2 << 30
"""Bytes that must be free on the engine's disk: an image takes about half of it."""


def problems(orchestrator: DockerOrchestrator) -> Iterator[str]:
    """A sentence for everything that is wrong; nothing is built, pulled or started."""
    try:
        engine = orchestrator.engine
        engine.info  # noqa: B018 - whether it answers
    except DrystoneError as exc:
        yield str(exc)
        return
    yield from _of_disk(engine)
    yield from _of_limits(orchestrator, engine)
    yield from _of_images(orchestrator, engine)
    yield from _of_surroundings(orchestrator, engine)
    yield from _of_user(orchestrator)


def _of_disk(engine: Engine) -> Iterator[str]:
    root = Path(engine.info.get("DockerRootDir", ""))
    if not engine.shares_kernel or not root.is_dir():
        return
    free = shutil.disk_usage(root).free
    if free < LEAST:
        yield (
            f"The disk of the container engine has {free >> 20} MiB left, below {root}; an image needs more. "
            "`docker system df` shows what takes the space, and `docker system prune` removes what nothing uses."
        )


def _of_limits(orchestrator: DockerOrchestrator, engine: Engine) -> Iterator[str]:
    limits, there = orchestrator.limits, engine.info.get("MemTotal") or 0
    if limits.cpus is not None and limits.cpus > engine.cpus:
        yield f"cpus={limits.cpus:g} are more than the engine's machine has, which are {engine.cpus}. Take fewer."
    for name, ability in (("memory", "MemoryLimit"), ("cpus", "CPUCfsQuota")):
        if getattr(limits, name) is not None and engine.info.get(ability) is False:
            yield (
                f"{name}= has no effect: the container engine cannot limit it. A rootless engine needs cgroup v2, with "
                "its controllers delegated to its user; `docker info` ends with warnings that tell more."
            )
    if limits.memory is not None and there and limits.memory > there:
        yield (f"memory={orchestrator.memory!r} is more than the engine's machine has, which is {there >> 20} MiB.")


def _of_images(orchestrator: DockerOrchestrator, engine: Engine) -> Iterator[str]:
    every = [orchestrator.image, *(step.over(orchestrator.image) for step in orchestrator.steps.values())]
    said = [problem for image in every for problem in _of_image(orchestrator, image, engine)]
    yield from dict.fromkeys(said)


def _of_image(orchestrator: DockerOrchestrator, image: Image, engine: Engine) -> list[str]:
    """What keeps an image from being built; nothing is pulled for the answer."""
    there = None if image.dockerfile is not None else inspected(engine, base_image(image))
    if image.dockerfile is not None or there is not None:
        wrong = [*_of_platforms(image, engine, [f"{there['Os']}/{there['Architecture']}"])] if there is not None else []
        return wrong or orchestrator.images.problems(image)
    try:
        with translated(engine.address, "pull it"):
            offered = engine.api.inspect_distribution(base_image(image))["Platforms"]
    except DrystoneError as exc:
        name = base_image(image)
        return [
            f"The base image {name} is not on the container engine, and cannot be pulled: {str(exc).rstrip('.')}. Is "
            f"its name right? `docker pull {name}` tries the same; for a private registry, `docker login` comes first."
        ]
    return [*_of_platforms(image, engine, [f"{each['os']}/{each['architecture']}" for each in offered])]


def _of_platforms(image: Image, engine: Engine, offered: list[str]) -> Iterator[str]:
    """Whether a base image is for the right machine."""
    wanted = image.platform or engine.platform
    if wanted.split("/")[:2] not in [each.split("/")[:2] for each in offered]:
        yield (
            f"The base image {base_image(image)} is for {', '.join(offered)} and not for {wanted}. Take another "
            "base_image, or set platform= to what it is for, where the engine can run that."
        )


def _of_surroundings(orchestrator: DockerOrchestrator, engine: Engine) -> Iterator[str]:
    try:
        orchestrator.surroundings()
    except StackError as exc:
        yield str(exc)
    folder, registry = folder_of(orchestrator.artifact_store), orchestrator.container_registry
    if folder is not None and not engine.is_here:
        yield (
            f"The artifacts are in {folder}, on this machine, and containers run on another one. Take a store that "
            "both reach, such as one in a bucket."
        )
    if registry is not None and registry.is_local and not engine.is_here:
        yield (
            f"The registry {registry.uri} is on this machine, and the container engine on another one, where that name "
            "leads to itself. Take one that both reach."
        )


def _of_user(orchestrator: DockerOrchestrator) -> Iterator[str]:
    """Whether steps can write into a store of files, as far as its directory tells."""
    folder, name = folder_of(orchestrator.artifact_store), (orchestrator.user or "").partition(":")[0]
    if folder is None or not folder.is_dir() or not name.isdigit() or name in ("0", str(os.getuid())):
        return
    there = folder.stat()
    if there.st_uid != int(name) and not there.st_mode & 0o022:
        yield (
            f"user={orchestrator.user!r} may not write into the artifact store, {folder}, which belongs to user "
            f"{there.st_uid}. Leave user= away, so that steps run as you do."
        )
