"""Where modules come from: the project, the standard library, or an installed distribution and its version."""

from __future__ import annotations

import functools
import re
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

OWN = frozenset(
    "drystone" + suffix for suffix in ("", "_local", "_data", "_cli", "_docker", "_s3", "_registry", "_scheduler")
)
"""Drystone's own packages: their version is no part of a key, and what they do to a step is in the key already."""

SITES = ("site-packages", "dist-packages")


@attrs.frozen
class Origin:
    """Where a module comes from.

    Attributes:
        project: Whether its code is followed; everything that is not installed is the project's.
        package: Name and version of the installed distribution; None for the project and the standard library.
    """

    project: bool = False
    package: tuple[str, str] | None = None


PROJECT = Origin(project=True)
STANDARD = Origin()


def origin_of(name: str) -> Origin:
    """The origin of a module by its name, loaded or not. Nothing is imported."""
    top = name.partition(".")[0]
    if top in OWN or top.startswith("_cython_"):
        return STANDARD
    module = sys.modules.get(name)
    file = module_file(module) if module is not None else _unloaded_file(name)
    if file is None:
        return STANDARD if top in sys.stdlib_module_names or top in sys.builtin_module_names else PROJECT
    return _origin_of_file(name, file)


def home(value: Any) -> str:
    """The name of the module that a function or class is from."""
    name = getattr(value, "__module__", None)
    return name if isinstance(name, str) else "builtins"


def is_open(module: ModuleType) -> bool:
    """Whether to look inside a module for what an attribute of it is: the project's, and namespaces of anybody."""
    return origin_of(module.__name__).project or (
        getattr(module, "__file__", None) is None and hasattr(module, "__path__")
    )


def is_compiled(name: str) -> bool:
    """Whether a loaded module is the project's own, but built of another language, so that its file is all to see."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return isinstance(file, str) and file.endswith(tuple(EXTENSION_SUFFIXES)) and origin_of(name).project


def module_file(module: ModuleType) -> str | None:
    """The file of a loaded module, or the directory of a namespace package."""
    file = getattr(module, "__file__", None)
    if file is None:
        file = next(iter(getattr(module, "__path__", ())), None)
    return file if isinstance(file, str) else None


def _unloaded_file(name: str) -> str | None:
    spec = find_spec(name)
    if spec is None:
        return None
    if spec.has_location:
        return spec.origin
    return next(iter(spec.submodule_search_locations or ()), None)


def find_spec(name: str) -> ModuleSpec | None:
    """The spec of a module, found without importing its parents as `importlib.util.find_spec` would."""
    module = sys.modules.get(name)
    if module is not None and getattr(module, "__spec__", None) is not None:
        return module.__spec__
    parent = name.rpartition(".")[0]
    path = None
    if parent:
        above = find_spec(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        path = list(above.submodule_search_locations)
    specs = (finder.find_spec(name, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    return next((spec for spec in specs if spec is not None), None)


@functools.cache
def _origin_of_file(name: str, file: str) -> Origin:
    path = Path(file)
    site = next((parent for parent in path.parents if parent.name in SITES), None)
    if site is not None:
        return Origin(package=_distribution(site, path.relative_to(site), name))
    standard = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")}
    standard |= {each.resolve() for each in standard}
    return STANDARD if standard.intersection(path.parents) else PROJECT


def _distribution(site: Path, file: Path, module: str) -> tuple[str, str]:
    """The distribution that installed a file, from the dist-infos beside it."""
    top = module.partition(".")[0]
    installed = _installed(site)
    named = _canonical(top)
    if named in installed:
        return named, installed[named][0]
    owners = [name for name, (_, info) in installed.items() if _lists(info, top, file)]
    if owners:
        return owners[0], installed[owners[0]][0]
    return top, str(getattr(sys.modules.get(top), "__version__", "unknown"))


@functools.cache
def _installed(site: Path) -> dict[str, tuple[str, Path]]:
    """Version and metadata directory of each distribution, read from the directories' names."""
    return {_canonical(name): (version, info) for name, version, info in _infos(site)}


def _infos(site: Path) -> Iterator[tuple[str, str, Path]]:
    for info in sorted(site.iterdir()):
        if info.suffix in (".dist-info", ".egg-info"):
            name, _, version = info.stem.partition("-")
            yield name, re.sub(r"-py\d.*$", "", version), info


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _lists(info: Path, top: str, file: Path) -> bool:
    record = info / "RECORD"
    if record.is_file():
        listed = record.read_text(encoding="utf-8", errors="replace")
        return f"\n{file.as_posix()}," in f"\n{listed}"
    tops = info / "top_level.txt"
    return tops.is_file() and top in tops.read_text(encoding="utf-8").split()
