"""What a project says of itself in pyproject.toml, and whether the plugins that it requires are ready."""

from __future__ import annotations

import functools
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from drystone.catalogs import version_of
from drystone.errors import StackError, listed
from drystone.installations import ACTIVE, Plugin
from drystone.origins import normal_name

KEY = "required_plugins"


def configured(root: Path) -> Mapping[str, Any]:
    """What `[tool.drystone]` in a project's pyproject.toml says; most files do not mention it and are not parsed.

    Raises:
        StackError: The file cannot be read.
    """
    file = root / "pyproject.toml"
    return _table(file, file.read_bytes()) if file.is_file() else {}


@functools.lru_cache(maxsize=8)
def _table(file: Path, source: bytes) -> Mapping[str, Any]:
    if b"drystone" not in source:
        return {}
    try:
        table = tomllib.loads(source.decode()).get("tool", {}).get("drystone", {})
    except (ValueError, AttributeError) as exc:
        raise StackError(f"{file} cannot be read: {exc}.") from exc
    if not isinstance(table, dict):
        raise StackError(f"{file} cannot be read: drystone in [tool] is {table!r}, not a table, [tool.drystone].")
    return table


def require(root: Path, plugins: Iterable[Plugin]) -> None:
    """See to it that the plugins are ready which `required_plugins` in `[tool.drystone]` names.

    Raises:
        StackError: Some are missing, too old or not active; names all of them, and one command that installs what can
            be installed.
    """
    problems, to_install = _unmet(root, plugins)
    if problems:
        remedy = f"\nInstall what is missing: pip install {shlex.join(to_install)}" if to_install else ""
        raise StackError(f"{root / 'pyproject.toml'} requires plugins. {listed(problems)}{remedy}")


def unmet(root: Path, plugins: Iterable[Plugin]) -> list[str]:
    """The same as a list of problems, for those who go on looking for others."""
    try:
        require(root, plugins)
    except StackError as exc:
        return [str(exc)]
    return []


def _unmet(root: Path, plugins: Iterable[Plugin]) -> tuple[list[str], list[str]]:
    """What is wrong, and what pip is to install."""
    wanted = configured(root).get(KEY)
    if not wanted:
        return [], []
    if not isinstance(wanted, list) or not all(isinstance(each, str) for each in wanted):
        raise StackError(
            f"{root / 'pyproject.toml'}: [tool.drystone] {KEY} is {wanted!r}. It lists requirements: "
            f'{KEY} = ["drystone-s3>=0.1"].'
        )
    found = list(plugins)
    pairs = [_checked(text, found) for text in wanted]
    return [problem for problem, _ in pairs if problem], [text for _, text in pairs if text]


def _checked(text: str, plugins: list[Plugin]) -> tuple[str, str]:
    """What is wrong with one requirement, and what to install for it; either may be empty."""
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - costs 0.03 s

    try:
        wanted = Requirement(text)
    except InvalidRequirement as exc:
        return f"{text!r} is no requirement: {exc}", ""
    if wanted.marker is not None and not wanted.marker.evaluate():
        return "", ""
    installed = version_of(wanted.name)
    if installed is None:
        return f"{wanted.name} is not installed.", text
    if not wanted.specifier.contains(installed, prereleases=True):
        return f"{wanted.name} {installed} is installed, but {wanted.specifier} is required.", text
    own = (each for each in plugins if normal_name(each.distribution) == normal_name(wanted.name))
    return " ".join(each.absence for each in own if each.state != ACTIVE), ""
