"""Base images: by what they are known, fetched, or built of a project's own Dockerfile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs

from drystone.errors import EngineError, ImageNotFoundError, StackError
from drystone_docker.builds import show
from drystone_docker.dockerfiles import build, digest_of
from drystone_docker.engines import Engine
from drystone_docker.failures import translated
from drystone_docker.images import Image


def base_image(image: Image) -> str:
    """The name of the base image: by default Python of the driver's minor version."""
    return image.base_image or f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"


def inspected(engine: Engine, name: str) -> dict[str, Any] | None:
    """What the engine says of an image that it has.

    Raises:
        EngineError: It does not answer.
    """
    try:
        with translated(engine.address, "show an image"):
            return dict(engine.api.inspect_image(name))
    except ImageNotFoundError:
        return None


@attrs.frozen
class Bases:
    """The base images of a project's images, on an engine."""

    engine: Engine
    root: Path

    def identity(self, image: Image, *, fetch: bool) -> str:
        """What a base image is known by: a Dockerfile and what lies beside it, a digest, or an id of the engine.

        Args:
            image: The settings.
            fetch: Whether it is pulled if the engine does not have it.

        Raises:
            ImageNotFoundError: The engine does not have it, and nobody else.
            StackError: There is no such Dockerfile.
        """
        if image.dockerfile is not None:
            return digest_of(self._file(image.dockerfile))
        name = base_image(image)
        if "@sha256:" in name:
            return name.rpartition("@")[2]
        return str(self._here(image, fetch=fetch)["Id"])

    def present(self, image: Image) -> dict[str, Any]:
        """What the engine says of the base image, which it has afterwards.

        Raises:
            ImageNotFoundError: There is none.
            ImageBuildError: It cannot be built of its Dockerfile.
        """
        if image.dockerfile is None:
            return self._here(image, fetch=True)
        id_ = build(self.engine, self._file(image.dockerfile), image.platform)
        with translated(self.engine.address, "show an image"):
            return dict(self.engine.api.inspect_image(id_))

    def _file(self, dockerfile: str) -> Path:
        file = self.root / dockerfile
        if not file.is_file():
            raise StackError(f"dockerfile={dockerfile!r}: there is no such file. Paths start at {self.root}.")
        return file

    def _here(self, image: Image, *, fetch: bool) -> dict[str, Any]:
        name = base_image(image)
        found = inspected(self.engine, name)
        if found is not None and _suits(found, image.platform):
            return found
        if not fetch:
            raise ImageNotFoundError(f"The container engine does not have the base image {name}.")
        return self._pulled(name, image.platform, found)

    def _pulled(self, name: str, platform: str | None, other: dict[str, Any] | None) -> dict[str, Any]:
        from docker.errors import APIError  # noqa: PLC0415 - when an engine is used, and never before

        show(f"Pulling the base image {name}")
        try:
            is_whole = "@" in name or ":" in name.rpartition("/")[2]
            with translated(self.engine.address, "pull it"):
                self.engine.client.images.pull(name, tag=None if is_whole else "latest", platform=platform)
        except (EngineError, ImageNotFoundError) as exc:
            if not isinstance(exc.__cause__, APIError):
                raise
            raise _missing(name, platform, other, str(exc.__cause__.explanation or exc.__cause__)) from exc
        found = inspected(self.engine, name)
        if found is None or not _suits(found, platform):
            raise _missing(name, platform, found, "the registry has it for other platforms only")
        return found


def _suits(found: dict[str, Any], platform: str | None) -> bool:
    """Whether an image is made for a platform, as `linux/arm64`; a variant of it is left to the engine."""
    return platform is None or platform.split("/")[:2] == [found.get("Os"), found.get("Architecture")]


def _missing(name: str, platform: str | None, other: dict[str, Any] | None, why: str) -> ImageNotFoundError:
    wanted = f" for {platform}" if platform else ""
    has = f" (it has it for {other.get('Os')}/{other.get('Architecture')})" if other else ""
    return ImageNotFoundError(
        f"The container engine does not have the base image {name}{wanted}{has}, and it cannot be pulled: "
        f"{why.rstrip('.')}. Set base_image to another, log in to its registry with `docker login`, or load it with "
        "`docker load`."
    )
