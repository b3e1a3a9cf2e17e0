"""Plugins that are files: named by an environment variable, so that child processes load the same ones."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

from drystone.digests import digest_bytes
from drystone.installations import Plugin
from drystone.projects import canonical_name, load_file, project_root

FILES = "DRYSTONE_PLUGINS"
"""The environment variable that names files to load as plugins, separated as in PATH; `--plugin` adds to it."""

PREFIX = "drystone_plugin_"


def files() -> list[Plugin]:
    """A plugin for each file that the environment names, in its order."""
    paths = dict.fromkeys(Path(name).expanduser().resolve() for name in _named())
    root = project_root() if paths else Path()
    return [Plugin(name=path.name, distribution=str(path), version="", module=_module(path, root)) for path in paths]


def load(plugin: Plugin) -> ModuleType:
    """Import a plugin that is a file, once per process.

    Raises:
        FileNotFoundError: There is no such file.
    """
    path = Path(plugin.distribution)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there. Correct --plugin or {FILES}")
    if plugin.module.startswith(PREFIX):
        return importlib.import_module(plugin.module)
    return load_file(path, project_root())


def _named() -> list[str]:
    return [name for name in os.environ.get(FILES, "").split(os.pathsep) if name]


def _module(path: Path, root: Path) -> str:
    """The name of its module, the same in every process.

    In the project, the one by which the project's own modules import it: there must not be two of its classes. Of
    another file, a name that is no other file's.
    """
    name = canonical_name(path, root) if path.is_relative_to(root) else ""
    if all(part.isidentifier() for part in name.split(".")):
        return name
    return f"{PREFIX}{re.sub(r'[^A-Za-z0-9]', '_', path.stem)}_{digest_bytes(str(path).encode())[:12]}"


class _Finder:
    """Finds files outside the project: a task may name a class of theirs before its worker asks for plugins."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(PREFIX):
            return None
        file = next((each.distribution for each in files() if each.module == name), None)
        return spec_from_file_location(name, file) if file else None


sys.meta_path.append(_Finder)
