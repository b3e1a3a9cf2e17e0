"""The settings of an orchestrator: what they may be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from drystone import Resources
from drystone.errors import PipelineDefinitionError, StackError
from drystone_docker.images import Image

if TYPE_CHECKING:
    from drystone_docker.orchestrator import DockerOrchestrator

SCHEMES = ("unix", "tcp", "ssh", "http", "https", "npipe")
"""How an engine can be reached."""


def size(text: int | str | None) -> int | None:
    """An amount of memory in bytes.

    Raises:
        PipelineDefinitionError: It is none.
    """
    return Resources(memory=text).memory  # text is converted


def problems(settings: DockerOrchestrator) -> Iterator[str]:
    """A sentence for everything that settings cannot be."""
    yield from _of_numbers(settings)
    yield from _of_places(settings)
    try:
        settings.image  # noqa: B018 - what it cannot be made of
    except StackError as exc:
        yield str(exc)
    if not isinstance(settings.steps, Mapping):
        yield f"steps={settings.steps!r} is no mapping; it takes images by the names of steps."
        return
    for name, image in settings.steps.items():
        if not isinstance(image, Image):
            yield f"steps[{name!r}] is {image!r}; it takes what differs for the step, as Image(base_image=…)."


def _of_numbers(settings: DockerOrchestrator) -> Iterator[str]:
    if settings.cpus is not None and not (_is_number(settings.cpus) and settings.cpus > 0):
        yield f"cpus={settings.cpus!r}: it is a number of cores, as 2 or 0.5."
    for name, least in (("gpus", 0), ("workers", 1)):
        value = getattr(settings, name)
        if value is not None and (type(value) is not int or value < least):
            yield f"{name}={value!r}: it is a whole number from {least} on."
    for name in ("memory", "shm_size"):
        try:
            size(getattr(settings, name))
        except (PipelineDefinitionError, ValueError, TypeError, AttributeError):
            yield f'{name}={getattr(settings, name)!r}: it is an amount of memory, as bytes, or text like "8GiB".'


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _of_places(settings: DockerOrchestrator) -> Iterator[str]:
    if settings.host is not None and (urlsplit(str(settings.host)).scheme not in SCHEMES):
        yield (
            f"host={settings.host!r} is no address of a container engine, like unix:///var/run/docker.sock, "
            "ssh://user@host or tcp://host:2376."
        )
    if settings.network is not None and (not isinstance(settings.network, str) or not settings.network):
        yield f'network={settings.network!r}: it is the name of a network, or "host" or "none".'
    if settings.user is not None and not re.fullmatch(r"[\w][\w.-]*(:[\w][\w.-]*)?", str(settings.user)):
        yield f'user={settings.user!r}: it is a user and perhaps a group, as "1000:1000" or "worker".'
    if not isinstance(settings.volumes, Mapping):
        yield f"volumes={settings.volumes!r} is no mapping; it takes paths in containers by paths of this machine."
        return
    for source, target in settings.volumes.items():
        if not isinstance(target, str) or not re.fullmatch(r"/[^:]*(:ro|:rw)?", target):
            yield (
                f'volumes[{source!r}] is {target!r}; it is an absolute path in containers, as "/data", or "/data:ro" '
                "to be read only."
            )
