"""The project a command works in: its root, its workspace's directory, and its modules by their canonical names."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from drystone.errors import DrystoneError, TargetError, WorkspaceError, suggestion
from drystone.pipelines import Pipeline, Step

MARKERS = ("stacks.py", "pyproject.toml", ".git")
"""Any of these makes a directory the root of a project."""

HOME = "DRYSTONE_WORKSPACE"
"""The environment variable that puts the workspace elsewhere than `.drystone` in the project's root."""


def project_root(start: Path | None = None) -> Path:
    """The nearest directory, from `start` upwards, with `stacks.py`, `pyproject.toml` or `.git`; else `start` itself.

    Args:
        start: The working directory by default.
    """
    first = (start or Path.cwd()).resolve()
    for directory in (first, *first.parents):
        if any((directory / marker).exists() for marker in MARKERS):
            return directory
    return first


def workspace_directory(root: Path) -> Path:
    """Where the project keeps its workspace: `DRYSTONE_WORKSPACE`, else `.drystone` in its root.

    Raises:
        WorkspaceError: The variable holds a URL.
    """
    text = os.environ.get(HOME)
    if not text:
        return root / ".drystone"
    if "://" in text:
        raise WorkspaceError(
            f"{HOME} is {text!r}, but must be a local directory. A shared workspace comes with a plugin and is the "
            "variable `workspace` in stacks.py."
        )
    return Path(text).expanduser().resolve()


def canonical_name(path: Path, root: Path) -> str:
    """The module name of a file: dotted from the outermost package it is in, else from the project's root."""
    path = path.resolve()
    parent = _import_parent(path)
    if parent == path.parent and path.is_relative_to(root.resolve()):
        parent = root.resolve()
    names = path.with_suffix("").relative_to(parent).parts
    return ".".join(names[:-1] if names[-1] == "__init__" and len(names) > 1 else names)


def find_pipeline(target: str, root: Path) -> Pipeline[Any, Any]:
    """The pipeline that `module:pipeline` or `path/to/file.py:pipeline` leads to.

    Its module is loaded once per process, under its canonical name; the project's root, and the directory that holds
    the file's outermost package, stay on `sys.path`.

    Raises:
        TargetError: It leads nowhere, to something that is no pipeline, or to a module that raises.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise TargetError(
            f"{target!r} is no target. A target is module:pipeline or path/to/file.py:pipeline, as "
            "flights.pipelines:training or flights/pipelines.py:training."
        )
    on_path(root)
    is_file = place.endswith(".py") or "/" in place
    module = load_file(_existing(place, root), root) if is_file else _imported(place, root)
    found = getattr(module, name, None)
    if isinstance(found, Pipeline):
        return found
    pipelines = [known for known, value in vars(module).items() if isinstance(value, Pipeline)]
    raise TargetError(f"{place} has {_instead(name, found)}.{suggestion(name, pipelines, 'Its pipelines')}")


def load_file(path: Path, root: Path) -> ModuleType:
    """A file as the module of its canonical name, loaded once per process.

    Raises:
        TargetError: It raises.
    """
    path = path.resolve()
    on_path(_import_parent(path))
    on_path(root)
    name = canonical_name(path, root)
    loaded = sys.modules.get(name)
    if loaded is not None and _is_of(getattr(loaded, "__file__", None), path):
        return loaded
    try:
        return importlib.import_module(name) if _is_importable(name, path) else _loaded_as(name, path)
    except DrystoneError:
        raise
    except (Exception, SystemExit) as exc:
        raise TargetError(f"{path} cannot be imported: {located(exc, path)}.") from exc


def on_path(directory: Path) -> None:
    """Put a directory first on `sys.path`, unless it is there."""
    text = str(directory.resolve())
    if text not in sys.path:
        sys.path.insert(0, text)


def located(exc: BaseException, path: Path | None = None) -> str:
    """An exception in one line, with the file and line it came from; in `path` if it went through it."""
    if isinstance(exc, SyntaxError):
        return f"{exc.filename}, line {exc.lineno}: {type(exc).__name__}: {exc.msg}"
    frames = traceback.extract_tb(exc.__traceback__)
    own = [frame for frame in frames if path is not None and _is_of(frame.filename, path)] or frames
    text = f"{type(exc).__name__}: {exc}".rstrip(".: ")
    return f"{own[-1].filename}, line {own[-1].lineno}: {text}" if own else text


def _import_parent(path: Path) -> Path:
    """The directory a file is imported from: the one that holds its outermost package."""
    parent = path.parent
    while (parent / "__init__.py").is_file() and parent != parent.parent:
        parent = parent.parent
    return parent


def _existing(place: str, root: Path) -> Path:
    for base in (Path.cwd(), root):
        path = base / Path(place).expanduser()
        if path.is_file():
            return path
    folder = path.parent
    known = [each.name for each in folder.glob("*.py")] if folder.is_dir() else []
    hint = suggestion(path.name, known, f"Files in {folder}") if known else f" It is looked for in {folder}."
    raise TargetError(f"There is no file {place!r}.{hint}")


def _imported(name: str, root: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except DrystoneError:
        raise
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise TargetError(f"The module {name!r} cannot be imported: {located(exc)}.") from exc
        hint = suggestion(name, _module_names(root), f"Modules in {root}")
        raise TargetError(f"There is no module {exc.name!r}, neither installed nor in {root}.{hint}") from None
    except (Exception, SystemExit) as exc:
        raise TargetError(f"The module {name!r} cannot be imported: {located(exc)}.") from exc


def _module_names(root: Path) -> Iterable[str]:
    """Modules in the root and one level of packages, for suggestions."""
    files = [*root.glob("*.py"), *(file for file in root.glob("*/*.py") if (file.parent / "__init__.py").is_file())]
    return {canonical_name(file, root) for file in files} - {"stacks"}


def _is_importable(name: str, path: Path) -> bool:
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return False
    return found is not None and _is_of(found.origin, path)


def _loaded_as(name: str, path: Path) -> ModuleType:
    """Load a file under a name that an import would not find, such as one with a hyphen in a directory."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_of(origin: str | None, path: Path) -> bool:
    return origin is not None and Path(origin).resolve() == path.resolve()


def _instead(name: str, found: object) -> str:
    if found is None:
        return f"no pipeline {name!r}"
    what = "a step" if isinstance(found, Step) else f"of type {type(found).__name__}"
    return f"a {name!r}, but it is {what}, not a pipeline"
