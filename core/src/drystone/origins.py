"""Where modules come from: the project, the standard library, or an installed distribution and its version."""

from __future__ import annotations

import functools
import itertools
import re
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.metadata import Distribution, distributions
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


def origin_of(name: str) -> Origin:
    """The origin of a module by its name, loaded or not. Nothing is imported."""
    top = name.partition(".")[0]
    if top in OWN or top.startswith("_cython_"):
        return Origin()
    file = module_file(name) if name else None
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


def is_absent(name: str) -> bool:
    """Whether nothing here has a module, nor the package that it would be in: neither project nor what is installed."""
    top = name.partition(".")[0]
    return origin_of(top).project and module_file(top) is None and top not in sys.modules


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
    try:
        specs = (finder.find_spec(name, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        return next((spec for spec in specs if spec is not None), None)
    except KeyError:  # of a namespace package Python asks the package above, which is not loaded
        spec = ModuleSpec(name, None, is_package=True)
        places = [Path(place, name.rpartition(".")[2]) for place in path or ()]
        spec.submodule_search_locations = [str(place) for place in places if place.is_dir()]
        return spec


def provider_of(cls: type) -> tuple[str, str] | None:
    """Name and version of the distribution that a class comes from; None if none is installed that has it.

    Found once per module, from the metadata beside it; a class inside a function comes from nowhere.
    """
    file = module_file(cls.__module__)
    return None if file is None or "<locals>" in cls.__qualname__ else _provider(cls.__module__, file)


@functools.cache
def _provider(name: str, file: str) -> tuple[str, str] | None:
    path, top, last = Path(file), name.partition(".")[0], name.rpartition(".")[2]
    if name == "__main__" or last not in (path.stem, path.parent.name):  # no import leads there, as to stacks.py
        return None
    owner = "drystone_core" if top == "drystone" else top
    site = next((parent for parent in path.parents if parent.name in SITES), None)
    if site is not None:
        return _owner(site, owner, path.relative_to(site).as_posix())
    folders = [*map(str, path.parents[name.count(".") + (path.stem == "__init__") :][:1])]
    named = distributions(name=owner)
    edited = (each for each in distributions() if each.read_text("direct_url.json"))
    found = next((each for each in itertools.chain(named, edited) if not _linked(each).isdisjoint(folders)), None)
    return (found.name, found.version) if found is not None else None


def _linked(distribution: Distribution) -> set[str]:
    """The directories that an editable install puts on the path."""
    links = [Path(str(each.locate())) for each in distribution.files or () if each.suffix == ".pth"]
    return {line for link in links for line in link.read_text().splitlines()}


@functools.cache
def _origin_of_file(name: str, file: str) -> Origin:
    path, top = Path(file), name.partition(".")[0]
    site = next((parent for parent in path.parents if parent.name in SITES), None)
    if site is not None:
        whole = site / top / "__init__.py"  # without one, several distributions may share the directory
        return Origin(package=_owner(site, top, (whole if whole.is_file() else path).relative_to(site).as_posix()))
    standard = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")}
    if not {*standard, *(each.resolve() for each in standard)}.isdisjoint(path.parents):
        return Origin()
    return Origin(project=True, package=_editable(top, path, name.count(".") + (path.stem == "__init__")))


@functools.cache
def _owner(site: Path, top: str, file: str) -> tuple[str, str]:
    """The distribution that installed a file: of the name of its module, or else the one that lists it."""
    named = distributions(name=top, path=[str(site)])
    listing = (each for each in distributions(path=[str(site)]) if _lists(each, top, file))
    found = next(itertools.chain(named, listing), None)
    metadata = found and (found.read_text("METADATA") or found.read_text("PKG-INFO"))
    header = (metadata or "").partition("\n\n")[0]  # the rest can be long, and importlib would parse it
    fields = dict(re.findall(r"^(Name|Version): *(\S+)", header, re.MULTILINE))
    known = str(getattr(sys.modules.get(top), "__version__", "unknown"))
    return fields.get("Name", top), fields.get("Version", known)


def _lists(distribution: Distribution, top: str, file: str) -> bool:
    record = distribution.read_text("RECORD")
    if record is not None:
        return f"\n{file}," in f"\n{record}"
    return top in (distribution.read_text("top_level.txt") or "").split()


@functools.cache
def _editable(top: str, file: Path, depth: int) -> tuple[str, str] | None:
    """The distribution of a module's name, if it is an editable install of the directory that holds the module."""
    for found in distributions(name=top):
        if _linked(found).intersection(map(str, file.parents[depth : depth + 1])):
            return found.name, found.version
    return None


def normal_name(name: str) -> str:
    """The name of a distribution in the one form that is equal for all its spellings: lower case, with `-`."""
    return re.sub(r"[-_.]+", "-", name).lower()
