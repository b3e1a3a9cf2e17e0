"""Runs steps in containers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import attrs

from drystone import (
    ArtifactStore,
    ContainerRegistry,
    Environment,
    Job,
    Orchestrator,
    Place,
    Resources,
    Secret,
    StackComponent,
    StepNeeds,
)
from drystone.errors import StackError, listed
from drystone_docker import labels, settings
from drystone_docker.addresses import address
from drystone_docker.builds import VENV
from drystone_docker.checks import problems
from drystone_docker.containers import found, started
from drystone_docker.engines import Engine, engine
from drystone_docker.handovers import handed
from drystone_docker.images import Image, copied, several
from drystone_docker.limits import Limits
from drystone_docker.mounts import Surroundings, surroundings
from drystone_docker.provisions import Images
from drystone_docker.users import user_of, variables_of

INTERPRETER = f"{VENV}/bin/python"
"""The interpreter in images, which has Drystone and what the project requires."""


@attrs.frozen(kw_only=True)
class DockerOrchestrator(Orchestrator):
    """Runs each attempt at a step in a container of its own.

    The first eight settings say what images are made of, as in `Image`.

    Attributes:
        base_image: The image to start from.
        python: The interpreter in it.
        requirements: What is installed for the project: a file of requirements, or the requirements themselves.
        system_packages: Debian packages.
        variables: Given as `environment`: variables that every container has, as texts or secrets.
        dockerfile: A Dockerfile of the project's own, in place of `base_image`.
        platform: As `linux/amd64`, where it is not the engine's own.
        index_url: The package index, where it is not the public one.
        steps: What is different for some steps' images, by the steps' names.
        cpus: Cores that a step may use which declares none; by default all.
        memory: Bytes that it may use, also as text like `"8GiB"`; by default all. `gpus` are graphics processors, by
            default none.
        shm_size: Bytes of `/dev/shm`; by default half of the memory limit, else the engine's own 64 MiB.
        network: The name of a network, or `host`, or `none`; by default the engine's own, or `host` if the artifact
            store is reached by this machine's loopback address.
        volumes: Paths in containers by paths of this machine, as `{"/data": "/data:ro"}`.
        user: Who steps run as, as `"1000:1000"`; by default who the driver runs as.
        workers: How many steps run at once; by default 4, or one per core where there are more.
        keep_failed: Whether containers of failed steps are kept, to be looked at.
        host: Where the engine is, as `ssh://user@host`; by default as Docker's own command line finds it.
    """

    base_image: str | None = None
    python: str | None = None
    requirements: str | tuple[str, ...] | None = attrs.field(default=None, converter=several)
    system_packages: tuple[str, ...] | None = attrs.field(default=None, converter=several)
    variables: Mapping[str, str | Secret] | None = attrs.field(
        default=None, alias="environment", converter=copied, hash=False
    )
    dockerfile: str | None = None
    platform: str | None = None
    index_url: str | Secret | None = None
    steps: Mapping[str, Image] = attrs.field(factory=dict, converter=copied, hash=False)
    cpus: float | None = None
    memory: int | str | None = None
    gpus: int | None = None
    shm_size: int | str | None = None
    network: str | None = None
    volumes: Mapping[str, str] = attrs.field(factory=dict, converter=copied, hash=False)
    user: str | None = None
    workers: int | None = None
    keep_failed: bool = False
    host: str | None = None
    _root: str | None = attrs.field(default=None, init=False, eq=False, repr=False)
    _store: ArtifactStore | None = attrs.field(default=None, init=False, eq=False, repr=False)
    _registry: ContainerRegistry | None = attrs.field(default=None, init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        problems = [f"DockerOrchestrator: {problem}" for problem in settings.problems(self)]
        if problems:
            raise StackError(listed(problems))

    # What it is

    @property
    def capabilities(self) -> frozenset[str]:
        """Everything."""
        return frozenset({"parallel", "timeout", "resources", "cancel", "isolation"})

    @property
    def store_capabilities(self) -> frozenset[str]:
        """An engine on another machine needs a store that other machines see."""
        return frozenset() if address(self.host).is_here else frozenset({"shared"})

    @property
    def concurrency(self) -> int:
        """How many containers run at once."""
        return self.workers or max(4, os.cpu_count() or 1)

    @property
    def image(self) -> Image:
        """What images are made of, where a step says nothing else."""
        return Image(
            base_image=self.base_image,
            python=self.python,
            requirements=self.requirements,
            system_packages=self.system_packages,
            environment=self.variables,
            dockerfile=self.dockerfile,
            platform=self.platform,
            index_url=self.index_url,
        )

    @property
    def limits(self) -> Limits:
        """What containers may use, where a step declares nothing."""
        return Limits(
            cpus=self.cpus, memory=settings.size(self.memory), gpus=self.gpus, shm_size=settings.size(self.shm_size)
        )

    @property
    def root(self) -> Path:
        """The project's root, once it is known."""
        return Path(self._root or ".")

    @property
    def artifact_store(self) -> ArtifactStore | None:
        """The store that steps use, once it is known."""
        return self._store

    @property
    def container_registry(self) -> ContainerRegistry | None:
        """The registry that images are shared by, if there is one."""
        return self._registry

    def image_of(self, step: str) -> Image:
        """What the image of a step is made of."""
        differing = self.steps.get(step) or self.steps.get(step.partition("[")[0])
        return differing.over(self.image) if differing is not None else self.image

    # Where it is used

    def at(self, place: Place) -> DockerOrchestrator:
        """This orchestrator, knowing what relative paths start from."""
        return self._knowing(_root=os.path.abspath(place.root), _store=self._store, _registry=self._registry)

    def within(self, components: Mapping[str, StackComponent]) -> Self:
        """This orchestrator, knowing the artifact store and the registry beside it."""
        store, registry = components.get("artifact_store"), components.get("container_registry")
        return self._knowing(_root=self._root, _store=store, _registry=registry)

    def _knowing(self, **known: Any) -> Self:
        copy = attrs.evolve(self)
        for name, value in known.items():
            object.__setattr__(copy, name, value)
        return copy

    def check(self) -> Iterator[str]:
        """Whether the engine can be used and has what steps need: images, disk, limits, files, network."""
        yield from problems(self)

    @property
    def engine(self) -> Engine:
        """The engine.

        Raises:
            EngineUnreachableError, EngineAccessError, EngineError: It cannot be asked.
        """
        return engine(self.host)

    def surroundings(self) -> Surroundings:
        """What containers see of this machine."""
        return surroundings(self.engine, self._store, self.volumes, self.network, self.root)

    # Images

    @cached_property
    def images(self) -> Images:
        """The images of steps, found or built."""
        return Images(self.engine, self.root, self._registry)

    def environment(self, step: StepNeeds) -> Environment:
        """What a step's code finds in its image."""
        return self.images.environment(self.image_of(step.name))

    def provide(self, steps: Iterable[StepNeeds]) -> None:
        """Build or pull the images that are not there."""
        images = [self.image_of(step.name) for step in steps]
        for image in {repr(each): each for each in images}.values():
            self.images.provide(image)

    # Containers

    def launch(
        self,
        task_uri: str,
        command: Sequence[str],
        resources: Resources | None,
        environment: Mapping[str, str],
        secrets: Mapping[str, str],
    ) -> Job:
        """Start a container that runs one attempt at a step.

        Raises:
            EngineError: The engine refuses, or does not answer.
            StackError: A secret is not there, or what the container is to see of this machine.
        """
        image = self.image_of(environment.get("DRYSTONE_STEP", ""))
        variables, given = handed(image, environment, secrets)
        called = [INTERPRETER if command[0] == "python" else command[0], *command[1:]]
        settings = self._settings(self.limits.of(resources), variables)
        settings |= {"labels": labels.of(task_uri, environment), "platform": image.platform}
        settings |= {"image": self.images.on_engine(image), "keeps_failed": self.keep_failed}
        return started(self.engine, labels.name(environment), called, given, **settings)

    def _settings(self, limits: Limits, variables: Mapping[str, str]) -> dict[str, Any]:
        """What containers are made with, as docker-py takes it."""
        around = self.surroundings()
        user = user_of(self.user, self.engine)
        host = {**limits.of_host(self.engine.cpus), **around.of_host(), "init": True, "log_config": labels.LOG}
        return {
            "user": user,
            "environment": {**variables_of(user), **limits.variables, **around.variables, **variables},
            "host_config": self.engine.api.create_host_config(**host),
        }

    def jobs(self, prefix: str) -> Mapping[str, Job]:
        """The containers of tasks whose uris begin so, whoever started them, running or ended."""
        there = found(self.engine, {labels.TASK: ""}, self.keep_failed)
        named = [(each[labels.TASK], container) for each, container in there]
        return {uri: container for uri, container in named if uri.startswith(prefix)}
