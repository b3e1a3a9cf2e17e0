"""What an environment imports that no index has: editable and path dependencies, and directories of PYTHONPATH."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import attrs

from drystone.origins import OWN, SITES

OWNED = OWN | {"drystone_core"}
"""Distributions of Drystone itself, and their packages: where a step runs, they are installed."""

METADATA = ("METADATA", "entry_points.txt", "top_level.txt")
"""The files by which `importlib.metadata` and the discovery of plugins know a distribution."""


@attrs.frozen
class Attachments:
    """What is imported from outside the site directories and the standard library.

    Attributes:
        directories: Those that are on the path, or stand on it for an editable install, in the order of the path.
        modules: Files and directories that were installed from a path, or that the finder of an editable install
            serves, by the names that they have below a directory on the path.
        metadata: Of the distributions that all that belongs to: texts by names such as `lib-1.0.dist-info/METADATA`.
    """

    directories: tuple[Path, ...]
    modules: dict[str, Path]
    metadata: dict[str, str]


def attachments(root: Path) -> Attachments:
    """What this process imports that no index has, without Drystone's own packages.

    Args:
        root: Of a project; directories below it count as soon as they are on `sys.path`.
    """
    sites = [Path(each) for each in sys.path if Path(each).name in SITES and Path(each).is_dir()]
    found = dict.fromkeys(each.resolve() for each in (*_of_pythonpath(), *_of_links(sites), *_below(root)))
    directories = tuple(each for each in found if not any((each / name).is_dir() for name in OWN))
    modules: dict[str, Path] = dict(_mapped(sites))
    metadata: dict[str, str] = {}
    known = set(OWNED)
    for distribution in distributions():
        origin = _origin(distribution)
        if origin is None and Path(str(distribution.locate_file(""))).resolve() not in directories:
            continue
        name = re.sub(r"[-_.]+", "_", distribution.name).lower()
        if name not in known:
            known.add(name)
            modules.update(_installed(distribution) if origin is False else ())
            metadata.update(_described(f"{name}-{distribution.version}.dist-info", distribution))
    return Attachments(directories, modules, metadata)


def _of_pythonpath() -> Iterator[Path]:
    places = (Path(each) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each)
    return (each for each in places if each.is_dir() and not set(SITES) & set(each.parts))


def _below(root: Path) -> Iterator[Path]:
    places = (Path(each).resolve() for each in sys.path if each and Path(each).is_dir())
    return (each for each in places if each.is_relative_to(root) and not set(SITES) & set(each.parts))


def _of_links(sites: list[Path]) -> Iterator[Path]:
    """The directories that `.pth` files of the site directories name."""
    for site in sites:
        for link in sorted(site.glob("*.pth")):
            lines = (line.strip() for line in link.read_text(errors="surrogateescape").splitlines())
            places = (site / line for line in lines if line and not line.startswith(("#", "import ", "import\t")))
            yield from (each for each in places if each.is_dir() and not set(SITES) & set(each.resolve().parts))


def _mapped(sites: list[Path]) -> Iterator[tuple[str, Path]]:
    """The packages and modules that finders of setuptools serve, each from a place of its own."""
    for finder in (each for site in sites for each in sorted(site.glob("__editable___*_finder.py"))):
        found = re.search(r"^MAPPING\b[^=]*= *(\{.*\})", finder.read_text(), re.MULTILINE)
        for name, place in ast.literal_eval(found[1]).items() if found else ():
            if name.partition(".")[0] not in OWN:
                yield from _served(name.replace(".", "/"), Path(place))


def _served(name: str, place: Path) -> Iterator[tuple[str, Path]]:
    module = place.with_suffix(".py")
    if place.is_dir():
        yield name, place
    elif module.is_file():
        yield f"{name}.py", module


def _origin(distribution: Distribution) -> bool | None:
    """Whether it is an editable install (True) or was installed from a path that is still there (False), or neither."""
    try:
        direct: dict[str, Any] = json.loads(distribution.read_text("direct_url.json") or "{}")
    except ValueError:
        return None
    if direct.get("dir_info", {}).get("editable"):
        return True
    url = urlsplit(direct.get("url", ""))  # what is built elsewhere, as by conda, names paths that are not here
    return False if url.scheme == "file" and Path(unquote(url.path)).exists() else None


def _installed(distribution: Distribution) -> Iterator[tuple[str, Path]]:
    for file in distribution.files or ():
        if file.parts[0] != ".." and not file.parts[0].endswith(".dist-info") and file.suffix != ".pyc":
            yield file.as_posix(), Path(str(file.locate()))


def _described(folder: str, distribution: Distribution) -> Iterator[tuple[str, str]]:
    for name in METADATA:
        text = None
        with suppress(OSError):
            text = distribution.read_text(name) or (distribution.read_text("PKG-INFO") if name == "METADATA" else None)
        if text:
            yield f"{folder}/{name}", text
