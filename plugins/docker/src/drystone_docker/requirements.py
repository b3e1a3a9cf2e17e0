"""What a project asks for: requirements as its settings, its pyproject.toml or its files of requirements say them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
from packaging.requirements import InvalidRequirement, Requirement

from drystone.errors import StackError, listed

INDEX_OPTIONS = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--trusted-host")
"""Options that say where packages come from, and not which."""

DEFAULTS = ("pyproject.toml", "requirements.txt")


@attrs.frozen
class Wishes:
    """What is asked for.

    Attributes:
        lines: Requirements, and options, as a file of requirements has them.
        constraints: What limits their versions.
        indexes: Options that say where to look for them; perhaps with credentials.
        folders: Directories and archives of the project's that are to be installed.
    """

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()

    def __add__(self, other: Wishes) -> Wishes:
        mine, others = attrs.astuple(self, recurse=False), attrs.astuple(other, recurse=False)
        return Wishes(*(a + b for a, b in zip(mine, others, strict=True)))

    def limits(self, name: str) -> list[Requirement]:
        """What is said of a distribution, by its normalised name."""
        parsed = map(requirement, (*self.lines, *self.constraints))
        return [each for each in parsed if each is not None and normal(each.name) == name]


def normal(name: str) -> str:
    """A distribution's name in lower case, with `-`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement(line: str) -> Requirement | None:
    """A line of a file of requirements, if it is one; what pip alone knows, as hashes, is left out."""
    try:
        return Requirement(line.partition(" --")[0])
    except InvalidRequirement:
        return None


def of_project(setting: str | tuple[str, ...] | None, root: Path) -> Wishes:
    """What a project asks for.

    Args:
        setting: As `Image.requirements`.
        root: The project's root.

    Raises:
        StackError: A file is missing or cannot be read; names all problems.
    """
    if isinstance(setting, tuple):
        return Wishes(setting)
    if setting is not None:
        return _of_file(root / setting, root)
    said = _project_table(root / "pyproject.toml")
    if said is not None and ("dependencies" in said or "dependencies" in said.get("dynamic", ())):
        return _of_file(root / "pyproject.toml", root)
    file = root / "requirements.txt"
    return _of_file(file, root) if file.is_file() else Wishes()


def project_name(root: Path) -> str:
    """What a project's pyproject.toml calls it, or else its folder's name."""
    said = _project_table(root / "pyproject.toml") or {}
    return str(said.get("name") or root.resolve().name)


def _of_file(file: Path, root: Path) -> Wishes:
    if not file.is_file():
        found = [each for each in DEFAULTS if (root / each).is_file()]
        there = f" There is {' and '.join(found)}." if found else ""
        raise StackError(f"requirements={str(file)!r}: there is no such file. Paths start at {root}.{there}")
    return Wishes(_dependencies(file)) if file.suffix == ".toml" else _lines(file)


def _project_table(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        table = tomllib.loads(file.read_text()).get("project")
    except ValueError as exc:
        raise StackError(f"{file} cannot be read: {exc}.") from exc
    return table if isinstance(table, dict) else None


def _dependencies(file: Path, extras: Iterable[str] = ()) -> tuple[str, ...]:
    said = _project_table(file)
    if said is None:
        raise StackError(f"{file} has no [project]. Name a file of requirements: requirements='requirements.txt'.")
    if "dependencies" in said.get("dynamic", ()):
        raise StackError(
            f"{file} says that its dependencies are dynamic, so they stand elsewhere. Name the file that has them: "
            "requirements='requirements.txt'."
        )
    optional = said.get("optional-dependencies", {})
    added = [each for extra in extras for each in optional.get(extra, ())]
    return (*said.get("dependencies", ()), *added)


def _lines(file: Path) -> Wishes:
    """A file of requirements, with those that it includes."""
    text = re.sub(r"\\\r?\n", " ", file.read_text())
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    wishes, problems = Wishes(), []
    for line in filter(None, lines):
        try:
            wishes += _line(re.sub(r"\s+", " ", line), file)
        except StackError as exc:
            problems.append(str(exc))
    if problems:
        raise StackError(listed(problems))
    return wishes


def _line(line: str, file: Path) -> Wishes:
    option, _, value = (part.strip() for part in re.sub(r"^(--[a-z-]+)=", r"\1 ", line).partition(" "))
    if option in ("-r", "--requirement"):
        return _of_file(file.parent / value, file.parent)
    if option in ("-c", "--constraint"):
        limits = _of_file(file.parent / value, file.parent)
        return Wishes(constraints=limits.lines + limits.constraints)
    if option in ("-e", "--editable"):
        return Wishes(tuple(_editable(value, file)))
    if option in ("-f", "--find-links") and "://" not in value:
        raise StackError(f"{file} has {line!r}, a folder that a build does not see. Name the wheels in it: ./a.whl.")
    if option in INDEX_OPTIONS:
        return Wishes(indexes=(line,))
    path = file.parent / line.removeprefix("file://")
    if requirement(line) is None and not line.startswith("-") and "://" not in line.removeprefix("file://"):
        return _local(line, path, file)
    return Wishes((line,))


def _local(line: str, path: Path, file: Path) -> Wishes:
    if not path.exists():
        raise StackError(f"{file} has {line!r}, which is neither a requirement nor something that is there.")
    return Wishes(folders=(path.resolve(),))


def _editable(value: str, file: Path) -> Iterator[str]:
    """What an editable package asks for; itself it travels with the project's code."""
    place, _, extras = value.partition("[")
    folder = file.parent / place.removeprefix("file://")
    if not (folder / "pyproject.toml").is_file():
        raise StackError(f"{file} has '-e {value}', and there is no pyproject.toml in {folder}.")
    yield from _dependencies(folder / "pyproject.toml", re.findall(r"[\w.-]+", extras))
