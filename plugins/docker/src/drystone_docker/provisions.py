"""Images as they are needed: found on the engine or in the registry, or built; each called by what goes into it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from drystone import ContainerRegistry, Environment
from drystone.errors import ImageNotFoundError, RegistryUnreachableError, StackError, message_of
from drystone_docker.bases import Bases, base_image, inspected
from drystone_docker.builds import ENVIRONMENT_LABEL, Build, show
from drystone_docker.engines import Engine
from drystone_docker.failures import translated
from drystone_docker.images import Image
from drystone_docker.indexes import Access
from drystone_docker.recipes import Recipe, recipe_of
from drystone_docker.requirements import project_name

logger = logging.getLogger(__name__)

LONGEST = 100
"""Characters of a project's name in the names of images, which registries limit to 255."""


class Images:
    """The images of a project, on an engine and perhaps in a registry.

    What it once found out of a project's files is kept: make another one for another run. Its methods may be called
    from several threads.

    Args:
        engine: The container engine.
        root: The project's root.
        registry: Where images are shared.
        repository: What they are called, by default `drystone/` and the project's name.
    """

    def __init__(
        self, engine: Engine, root: Path, registry: ContainerRegistry | None = None, repository: str | None = None
    ) -> None:
        self._engine, self._root, self._registry = engine, root, registry
        self._repository = repository or repository_of(root)
        self._bases = Bases(engine, root)
        self._pulling = threading.Lock()
        self._recipes: dict[str, Recipe] = {}
        self._environments: dict[str, Environment] = {}

    def name(self, image: Image) -> str:
        """What an image is called, as `drystone/flights:` and 20 hexadecimal digits; its base image has to be there.

        Raises:
            StackError: Something that it names is not there.
            ImageNotFoundError: The engine does not have its base image.
        """
        return self._named(self._recipe(image, fetch=False))

    def environment(self, image: Image) -> Environment:
        """What is installed in an image, as it says itself; nothing is built or fetched for the answer.

        Raises:
            StackError: Something that the settings name is not there.
            EngineError: The engine does not answer.
        """
        try:
            name = self.name(image)
        except ImageNotFoundError:
            return Environment(unknown="its base image is not on the container engine yet")
        if name not in self._environments:
            labels = self._labels(name)
            if labels is None:
                return Environment(unknown="its image is not built yet")
            self._environments[name] = _environment(labels)
        return self._environments[name]

    def provide(self, image: Image) -> None:
        """See to it that an image is on the engine or in the registry: build it, and push it, if it is not.

        What the build prints is shown at once, on standard error.

        Raises:
            ImageBuildError: Says which part failed, and shows the end of what it printed.
            ImageNotFoundError: There is no such base image.
            StackError: Something that the settings name is not there.
            RegistryError: The registry refuses the image, or does not answer and the engine has it not.
        """
        recipe = self._recipe(image, fetch=True)
        name = self._named(recipe)
        if self._is_there(name):
            return
        with _alone(name):
            if not self._is_there(name):
                show(f"Building the image {name} on {image.dockerfile or base_image(image)}")
                id_ = self._build(recipe, name)
                self._push(id_, name)

    def on_engine(self, image: Image) -> str:
        """The id of an image on the engine, to run; it is pulled if only the registry has it.

        Raises:
            ImageNotFoundError: Neither has it: it has to be provided before.
        """
        name = self._named(self._recipe(image, fetch=True))
        found = inspected(self._engine, name)
        if found is None:
            with self._pulling:  # steps start at once: one of them pulls, and the others find it
                found = inspected(self._engine, name)
                return str(found["Id"]) if found is not None else self._pulled(name)
        return str(found["Id"])

    def _pulled(self, name: str) -> str:
        """The id of an image that the registry has, once the engine has it."""
        digest = self._registry.digest(name) if self._registry else None
        if self._registry is None or digest is None:
            raise ImageNotFoundError(f"The image {name} is not built yet, or was removed. A run builds what it needs.")
        id_ = self._registry.pull(f"{self._repository}@{digest}", engine=self._engine.api)
        with translated(self._engine.address, "name an image"):
            self._engine.api.tag(id_, *name.rsplit(":", 1))
        return id_

    def problems(self, image: Image) -> list[str]:
        """What keeps an image from being built here, as far as that can be told without building it."""
        found = []
        try:
            self._recipe(image, fetch=True)
            Access.of_driver(image.index_url)
        except (StackError, ImageNotFoundError) as exc:
            found.append(str(exc))
        return found

    def _recipe(self, image: Image, *, fetch: bool) -> Recipe:
        key = repr(image)
        if key not in self._recipes:
            base = self._bases.identity(image, fetch=fetch)
            self._recipes[key] = recipe_of(image, base, self._root)
        return self._recipes[key]

    def _named(self, recipe: Recipe) -> str:
        return f"{self._repository}:{recipe.digest}"

    def _labels(self, name: str) -> Mapping[str, str] | None:
        found = inspected(self._engine, name)
        if found is not None:
            return found["Config"].get("Labels") or {}
        return self._registry.labels(name) if self._registry else None

    def _is_there(self, name: str) -> bool:
        """Whether it needs no build; what only the engine has is pushed."""
        found = inspected(self._engine, name)
        if self._registry is None:
            return found is not None
        try:
            if self._registry.digest(name) is not None:
                return True
            if found is not None:
                self._push(found["Id"], name)
        except RegistryUnreachableError as exc:
            if found is None:
                raise
            logger.warning("%s The engine has the image %s, so the run goes on.", message_of(exc), name)
        return found is not None

    def _push(self, id_: str, name: str) -> None:
        if self._registry is not None:
            show(f"Pushing the image to {self._registry.reference(name)}")
            self._registry.push(id_, name, engine=self._engine.api)

    def _build(self, recipe: Recipe, name: str) -> str:
        access = Access.of_driver(recipe.image.index_url, (*recipe.indexes, *recipe.lines))
        return Build(self._engine, recipe, self._bases.present(recipe.image), access).run(name)


def repository_of(root: Path) -> str:
    """What a project's images are called: `drystone/` and the project's name, or else its folder's."""
    plain = re.sub(r"[^a-z0-9]+", "-", project_name(root).lower()).strip("-")
    return f"drystone/{plain[:LONGEST].strip('-') or 'project'}"


def _environment(labels: Mapping[str, str]) -> Environment:
    said = json.loads(labels.get(ENVIRONMENT_LABEL) or "{}")
    if not said:
        return Environment(unknown="its image does not say what is installed in it")
    return Environment(python=said["python"], packages=said["packages"])


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One process of a user at a time builds an image; others wait, and find it."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.environ.get("DRYSTONE_CACHE") or f"{home}/drystone").expanduser() / "images"
    with ExitStack() as stack:
        with suppress(OSError):  # where nothing can be locked, two may build the same
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((folder / f"{name.rpartition(':')[2]}.lock").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
