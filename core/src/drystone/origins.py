"""Where modules come from: the project, the standard library, or an installed distribution and its version."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import sys
import sysconfig
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
        project: Whether its code is followed; everything that does not lie in a site directory is the project's.
        package: Name and version of the distribution that installed it, editable or not; None if none did.
    """

    project: bool = False
    package: tuple[str, str] | None = None


STANDARD = Origin()


def origin_of(name: str) -> Origin:
    """The origin of a module by its name, loaded or not. Nothing is imported."""
    top = name.partition(".")[0]
    if top in OWN or top.startswith("_cython_"):
        return STANDARD
    file = module_file(name)
    if file is None:
        return Origin(project=top not in sys.stdlib_module_names and top not in sys.builtin_module_names)
    return _origin_of_file(name, file)


def home(value: Any) -> str:
    """The name of the module that a function or class is from."""
    name = getattr(value, "__module__", None)
    return name if isinstance(name, str) else "builtins"


def module_file(name: str) -> str | None:
    """The file of a module, loaded or not, or the directory of a namespace package."""
    module: Any = sys.modules.get(name)
    if module is None:
        spec = find_spec(name)
        file = spec.origin if spec is not None and spec.has_location else None
        places = spec.submodule_search_locations if spec is not None else None
    else:
        file, places = getattr(module, "__file__", None), getattr(module, "__path__", None)
    file = file or next(iter(places or ()), None)
    return file if isinstance(file, str) else None


def is_compiled(name: str) -> bool:
    """Whether a module is the project's own, but built of another language, so that its file is all to see."""
    file = module_file(name)
    return file is not None and file.endswith(tuple(EXTENSION_SUFFIXES)) and origin_of(name).project


def is_namespace(module: ModuleType) -> bool:
    """Whether a module is nothing but the sum of what several distributions, or directories, put below it."""
    return getattr(module, "__file__", None) is None and hasattr(module, "__path__")


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
    path, top = Path(file), name.partition(".")[0]
    site = next((parent for parent in path.parents if parent.name in SITES), None)
    if site is not None:
        return Origin(package=_distribution(site, path.relative_to(site).as_posix(), top))
    standard = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")}
    standard |= {each.resolve() for each in standard}
    if standard.intersection(path.parents):
        return STANDARD
    return Origin(project=True, package=_editable(path.parents[name.count(".") + (path.stem == "__init__")], top))


def _distribution(site: Path, file: str, top: str) -> tuple[str, str]:
    """The distribution that installed a file, by the names beside it; asking importlib for all of them takes 0.1 s."""
    installed = _installed(site)
    owner = _canonical(top)
    if owner not in installed:
        owner = next((name for name, (_, info) in installed.items() if _lists(info, top, file)), "")
    if owner:
        return owner, installed[owner][0]
    return top, str(getattr(sys.modules.get(top), "__version__", "unknown"))


@functools.cache
def _installed(site: Path) -> dict[str, tuple[str, Path]]:
    """Version and metadata directory of each distribution, read from the directories' names."""
    infos = [info for info in sorted(site.iterdir()) if info.suffix in (".dist-info", ".egg-info")]
    split = [(info.stem.partition("-"), info) for info in infos]
    return {_canonical(name): (re.sub(r"-py\d.*$", "", version), info) for (name, _, version), info in split}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _lists(info: Path, top: str, file: str) -> bool:
    record = info / "RECORD"
    if record.is_file():
        return f"\n{file}," in f"\n{record.read_text(encoding='utf-8', errors='replace')}"
    tops = info / "top_level.txt"
    return tops.is_file() and top in tops.read_text(encoding="utf-8").split()


def _editable(directory: Path, top: str) -> tuple[str, str] | None:
    """The distribution of a module's name, if it is an editable install of the directory that holds the module."""
    try:
        found = importlib.metadata.distribution(top)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    links = [file.read_text().split("\n") for file in found.files or () if file.suffix == ".pth"]
    return (_canonical(found.name), found.version) if str(directory) in sum(links, []) else None
