"""Images: what they are made of, and what they are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from drystone import Secret


@attrs.frozen(kw_only=True)
class Image:
    """What an image is built from. What is None is as the orchestrator's own settings say.

    Attributes:
        base_image: The image to start from, which has Python; by default `python:3.11-slim`, of the driver's version.
        python: The interpreter in it, as `python3` or a path.
        requirements: What is installed for the project: a file of requirements, or the requirements themselves; by
            default what the project's `pyproject.toml` says, or `requirements.txt`.
        system_packages: Debian packages.
        environment: Variables that every container has; a `Secret` is handed over when a step starts, and stands in no
            image.
        dockerfile: A Dockerfile of the project's own, whose image takes the place of `base_image`.
        platform: As `linux/amd64`, where it is not the engine's own.
        index_url: The package index to install from, where it is not the public one; with credentials it is a `Secret`.
    """

    base_image: str | None = None
    python: str | None = None
    requirements: str | tuple[str, ...] | None = None
    system_packages: tuple[str, ...] | None = None
    environment: Mapping[str, str | Secret] | None = None
    dockerfile: str | None = None
    platform: str | None = None
    index_url: str | Secret | None = None

    def over(self, other: Image) -> Image:
        """This image, with what it leaves open taken from another one."""
        given: dict[str, Any] = {
            name: value for name, value in attrs.asdict(self, recurse=False).items() if value is not None
        }
        return attrs.evolve(other, **given)
