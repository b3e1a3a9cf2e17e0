"""Recipes: everything that goes into an image, and the digest of it, which is its tag."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
from packaging.requirements import Requirement

from drystone import load_plugins
from drystone_docker.distributions import INDEX, OFFICIAL, Installed, Local, closure, installed, of, source_of
from drystone_docker.images import Image
from drystone_docker.requirements import Wishes, normal, of_project, requirement


@attrs.frozen(kw_only=True)
class Recipe:
    """What an image is made of.

    Attributes:
        base: What the base image is known by, whatever it is called.
        image: The settings.
        lines: What is installed, as a file of requirements.
        constraints: The versions that the driver has.
        locals: What is installed from files of the driver's machine.
        indexes: Options of the project's files of requirements that say where to look. They change no tag.
    """

    base: str
    image: Image
    lines: tuple[str, ...]
    constraints: tuple[str, ...]
    locals: tuple[Local, ...]
    indexes: tuple[str, ...] = attrs.field(default=(), repr=False)

    @property
    def digest(self) -> str:
        """20 hexadecimal digits. The script of the build is in it, as a part of drystone-docker."""
        plain = {name: text for name, text in (self.image.environment or {}).items() if isinstance(text, str)}
        content = [
            self.base,
            self.image.platform,
            self.image.python or "python3",
            self.lines,
            self.constraints,
            sorted(self.image.system_packages or ()),
            sorted(plain.items()),
            sorted((each.path, each.digest) for each in self.locals),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:20]


def recipe_of(image: Image, base: str, root: Path) -> Recipe:
    """What an image of these settings is made of, on this machine and now.

    Raises:
        StackError: Something that it names is not there.
    """
    wishes = of_project(image.requirements, root)
    folders = [source_of(folder) for folder in wishes.folders]
    asked = [*_own(), *_travelling(wishes)]
    found = closure(each for each in map(requirement, asked) if each is not None)
    locals_ = [each.local() for each in found if each.origin != INDEX and _fits(each, wishes)]
    named = {each.name: each for each in locals_}
    lines = dict.fromkeys([*(_replaced(line, named) for line in asked), *(each.line for each in (*locals_, *folders))])
    pins = [each.pin for each in found if each.origin == INDEX and _fits(each, wishes)]
    return Recipe(
        base=base,
        image=image,
        lines=tuple(line for line in lines if line),
        constraints=(*pins, *wishes.constraints),
        locals=(*locals_, *folders),
        indexes=wishes.indexes,
    )


def _own() -> Iterator[str]:
    """Drystone's distributions and those of active plugins; of what travels with the code, what that requires."""
    active = {normal(each.distribution) for each in load_plugins().all if each.state == "active"}
    names = sorted({*OFFICIAL, *active})
    for each in filter(None, map(installed, names)):
        yield from _lines(each) if each.travels else (f"{each.name}=={each.version}",)


def _travelling(wishes: Wishes) -> Iterator[str]:
    """A project's lines, with what the team's own code requires in its place."""
    for line in wishes.lines:
        wanted = requirement(line)
        here = of(wanted) if wanted else None
        yield from _lines(here, wanted.extras) if wanted and here and here.travels else (line,)


def _lines(each: Installed, extras: Iterable[str] = (), above: tuple[Installed, ...] = ()) -> Iterator[str]:
    """What a distribution that travels requires; of another one that does, what that does."""
    above = (*above, each)
    for wanted in each.requires(extras):
        here = of(wanted)
        if here is None or not here.travels:
            yield _without_extra(wanted)
        elif here not in above:
            yield from _lines(here, wanted.extras, above)


def _without_extra(wanted: Requirement) -> str:
    """A requirement that is known to apply, without the marker that says for which extra of which package."""
    if wanted.marker is None or "extra" not in str(wanted.marker):
        return str(wanted)
    plain = Requirement(str(wanted))
    plain.marker = None
    return str(plain)


def _replaced(line: str, named: dict[str, Local]) -> str:
    """A line, or the one that names the same distribution with its extras among the local files."""
    wanted = requirement(line)
    local = named.get(normal(wanted.name)) if wanted else None
    if wanted is None or local is None:
        return line
    return local.line.replace(" @ ", f"[{','.join(sorted(wanted.extras))}] @ ") if wanted.extras else ""


def _fits(each: Installed, wishes: Wishes) -> bool:
    """Whether the driver's version is one that the project asks for."""
    limits = wishes.limits(each.name)
    if each.origin == INDEX and any(limit.url for limit in limits):
        return False
    return all(limit.specifier.contains(each.version, prereleases=True) for limit in limits)
