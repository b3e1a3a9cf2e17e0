"""The project a command works in: its root, its workspace's directory, and its modules by their canonical names."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from drystone.digests import module_name
from drystone.errors import DrystoneError, TargetError, WorkspaceError, suggestion
from drystone.functions import Declared
from drystone.graphs import importing
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
    above = (first, *first.parents)
    return next((each for each in above if any((each / marker).exists() for marker in MARKERS)), first)


def workspace_directory(root: Path) -> Path:
    """Where the project keeps its workspace: `DRYSTONE_WORKSPACE`, else `.drystone` in its root.

    If the variable holds a URL, `.drystone` keeps what is this machine's alone.
    """
    text = os.environ.get(HOME)
    if not text or "://" in text:
        return root / ".drystone"
    return Path(text).expanduser().resolve()


def make_directory(directory: Path) -> None:
    """Make the directory of a workspace, if there is none; Git leaves it alone.

    Raises:
        WorkspaceError: It cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        ignore = directory / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as exc:
        raise WorkspaceError(
            f"The workspace {directory} cannot be made: {exc}. Choose another directory ({HOME})."
        ) from exc


def canonical_name(path: Path, root: Path) -> str:
    """The module name of a file: dotted from the outermost package it is in, else from the project's root."""
    path, root = path.resolve(), root.resolve()
    parent = _import_parent(path)
    if parent == path.parent and path.is_relative_to(root):
        parent = root
    names = path.with_suffix("").relative_to(parent).parts
    return ".".join(names[:-1] if names[-1] == "__init__" and len(names) > 1 else names)


def _import_parent(path: Path) -> Path:
    """The directory a file is imported from: the one that holds its outermost package."""
    parent = path.parent
    while (parent / "__init__.py").is_file() and parent != parent.parent:
        parent = parent.parent
    return parent


def find_pipeline(target: str, root: Path) -> Pipeline[Any, Any]:
    """The pipeline that `module:pipeline` or `path/to/file.py:pipeline` leads to.

    Its module is loaded once per process, under its canonical name; the project's root, and the directory that holds
    the file's outermost package, stay on `sys.path`.

    Raises:
        TargetError: It leads nowhere, to something that is no pipeline, or to a module that raises.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise TargetError(
            f"{target!r} is no target. A target is module:pipeline or path/to/file.py:pipeline, as "
            "flights.pipelines:training or flights/pipelines.py:training."
        )
    token = importing.set(target)
    try:
        module = _loaded(place, root)
    finally:
        importing.reset(token)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if isinstance(found, Pipeline):
        return found
    what = "a step" if isinstance(found, Step) else f"of type {type(found).__name__}"
    instead = f"no pipeline {name!r}" if found is None else f"a {name!r}, but it is {what}, not a pipeline"
    pipelines = [known for known, value in vars(module).items() if isinstance(value, Pipeline)]
    raise TargetError(f"{place} has {instead}.{suggestion(name, pipelines, 'Its pipelines')}")


def target_of(declared: Declared[Any, Any]) -> str | None:
    """`module:name` of a pipeline or step, if importing that leads to its function; else None."""
    function: Any = declared.fn
    qualified: str = function.__qualname__
    found: Any = sys.modules.get(function.__module__)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    module = module_name(function.__module__)
    if getattr(found, "fn", None) is not function or module == "__main__":
        return None
    return f"{module}:{qualified}"


def _loaded(place: str, root: Path) -> ModuleType:
    put_on_path(root)
    path = _existing(place, root) if place.endswith(".py") or "/" in place else None
    try:
        return importlib.import_module(place) if path is None else load_file(path, root)
    except DrystoneError:
        raise
    except (Exception, SystemExit) as exc:
        missing = "" if path is not None else missing_module(place, exc)
        if missing:
            packages = [file for file in root.glob("*/*.py") if (file.parent / "__init__.py").is_file()]
            names = {canonical_name(file, root) for file in (*root.glob("*.py"), *packages)} - {"stacks"}
            hint = suggestion(place, names, f"Modules in {root}")
            raise TargetError(f"There is no module {missing!r}, neither installed nor in {root}.{hint}") from None
        what = f"The module {place!r}" if path is None else path
        raise TargetError(f"{what} cannot be imported: {located(exc, path)}.") from exc


def _existing(place: str, root: Path) -> Path:
    paths = [base / Path(place).expanduser() for base in (Path.cwd(), root)]
    for path in paths:
        if path.is_file():
            return path
    folder = next((path.parent for path in paths if path.parent.is_dir()), paths[-1].parent)
    known = [each.name for each in folder.glob("*.py")]
    hint = suggestion(Path(place).name, known, f"Files in {folder}") if known else f" It is looked for in {folder}."
    raise TargetError(f"There is no file {place!r}.{hint}")


def load_file(path: Path, root: Path) -> ModuleType:
    """A file as the module of its canonical name, loaded once per process."""
    path = path.resolve()
    put_on_path(_import_parent(path))
    put_on_path(root)
    name = canonical_name(path, root)
    if name in sys.modules and _is_of(getattr(sys.modules[name], "__file__", None), path):
        return sys.modules[name]
    found = None
    with suppress(ModuleNotFoundError):  # when its folder is no package, but has the name of a module
        found = importlib.util.find_spec(name)
    if found is not None and _is_of(found.origin, path):
        return importlib.import_module(name)
    # An import would not find what has a hyphen in its name, a dot in that of its folder, or a namesake before it.
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is no Python file.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def put_on_path(directory: Path) -> None:
    """Make the modules in a directory importable."""
    text = str(directory.resolve())
    if text not in sys.path:
        sys.path.insert(0, text)


def _is_of(origin: str | None, path: Path) -> bool:
    return origin is not None and Path(origin).resolve() == path.resolve()


def located(exc: BaseException, path: Path | None = None) -> str:
    """An exception in one line, with the file and line it came from; in `path` if it went through it."""
    if isinstance(exc, SyntaxError):
        return f"{exc.filename}, line {exc.lineno}: {type(exc).__name__}: {exc.msg}"
    frames = traceback.extract_tb(exc.__traceback__)
    own = [frame for frame in frames if path is not None and _is_of(frame.filename, path)] or frames
    text = f"{type(exc).__name__}: {exc}".rstrip(".: ")
    return f"{own[-1].filename}, line {own[-1].lineno}: {text}" if own else text


def missing_module(name: str, exc: BaseException) -> str:
    """The module that an import of this name ended for, if it is this one or a package it is in; else empty."""
    missing = exc.name or "" if isinstance(exc, ModuleNotFoundError) else ""
    return missing if f"{name}.".startswith(f"{missing}.") else ""
