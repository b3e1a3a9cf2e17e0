"""The stacks of a project: found in its `stacks.py`, in plugins and in the workspace, one of them active."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from drystone.digests import digest_bytes
from drystone.errors import DrystoneError, StackError, StackNotFoundError, WorkspaceError, suggestion
from drystone.plugins import Plugins
from drystone.projects import located, make_directory, missing_module, workspace_directory
from drystone.publications import PublishedStack
from drystone.requirements import configured, require
from drystone.stacks import Stack

CHOICE = "active-stack"
"""The file in the workspace's directory that keeps what `drystone stacks use` chose."""

ENVIRONMENT = "DRYSTONE_STACK"
"""The environment variable that names the stack to use."""


class Stacks:
    """The stacks a project can use, and which of them is active; made by `drystone.find_stacks`.

    Of stacks with one name, that of the project's own file goes before that of a plugin, and that before a published
    one.

    Attributes:
        workspace: The object that `stacks.py` calls `workspace`, or None.
    """

    def __init__(
        self, root: Path, plugins: Plugins, published: Callable[[], Iterable[PublishedStack]] = tuple[PublishedStack]
    ) -> None:
        self._root, self._plugins, self._ask = root, plugins, published
        require(root, plugins.all)
        module = _module(root)
        self._origin, variables = (str(module.__file__), vars(module)) if module else ("", {})
        self.workspace = variables.get("workspace")
        self._default: Stack | str | None = variables.get("default")
        if not isinstance(self._default, Stack | str | None):
            raise StackError(
                f"{self._origin}: default is {self._default!r}. It must be one of the stacks: default = dev."
            )
        offered = plugins.unique("drystone_stacks").values()
        self._stacks: dict[str, tuple[Stack, str]] = {
            stack.name: (stack, plugin.distribution) for stack, plugin in offered
        }
        self._stacks |= {name: (stack, self._origin) for name, stack in _stacks(variables, self._origin).items()}
        self._stacks |= {name: (stack, "this process") for name, stack in _lent.items()}

    @property
    def names(self) -> list[str]:
        """What can be chosen, in order."""
        return sorted({*self._stacks, *self.published})

    @functools.cached_property
    def published(self) -> dict[str, PublishedStack]:
        """The stacks that the workspace publishes, also those that others of their name go before."""
        return {each.name: each for each in self._ask()}

    def usable(self) -> Iterator[Stack]:
        """Every stack that can be made here; a published one may need what is not installed."""
        for name in self.names:
            with suppress(DrystoneError):
                yield self.get(name)

    def get(self, name: str, reason: str = "") -> Stack:
        """The stack of a name; where the name is from may be told, for the error.

        Raises:
            StackNotFoundError: There is none.
            StackError: It is published, and cannot be made of what is installed here.
        """
        if name in self._stacks:
            return self._stacks[name][0]
        return self._published(name, reason).restore()

    def _published(self, name: str, reason: str = "") -> PublishedStack:
        if name in self.published:
            return self.published[name]
        hint = f"{suggestion(name, self.names, 'Stacks')} {reason}".rstrip()
        define = "" if self._origin else f" Stacks of a project's own are defined in {self._root}/stacks.py."
        raise StackNotFoundError(f"There is no stack {name!r}.{hint}{define}{self._plugins.absent()}")

    def source(self, name: str) -> str:
        """Where a stack is defined: the path of a file, a distribution, or who published it.

        Raises:
            StackNotFoundError: There is none of that name.
        """
        return self._stacks[name][1] if name in self._stacks else self._published(name).source

    def describe(self, name: str) -> dict[str, Any]:
        """A stack as JSON values; one that is published also where its plugins are not installed.

        Raises:
            StackNotFoundError: There is none of that name.
        """
        return self._stacks[name][0].describe() if name in self._stacks else self._published(name).describe()

    def active(self, explicit: str | Stack | None = None) -> Stack:
        """The stack to use.

        The first of: the one given, `DRYSTONE_STACK`, what `use` chose, `default` in `stacks.py`, the stack that a
        plugin calls `default`. A name means the stack of the project's own file; if that has none, of a plugin; if no
        plugin has one, the one published in the workspace, which is not asked before.

        Raises:
            StackNotFoundError: The name that was found first is no stack's.
            StackError: It is that of a published stack that cannot be made here; says what to install.
        """
        file = workspace_directory(self._root) / CHOICE
        kept = file.read_text().strip() if file.is_file() else None
        choices: tuple[tuple[Stack | str | None, str], ...] = (
            (explicit, ""),
            (os.environ.get(ENVIRONMENT), f"It was named by {ENVIRONMENT}."),
            (kept, f"It was chosen with `drystone stacks use`, which keeps it in {file}; choose another."),
            (self._default, f"It is the `default` of {self._origin}."),
            ("default", "No stack was chosen, and the built-in one comes with the plugin drystone-local."),
        )
        return next(
            choice if isinstance(choice, Stack) else self.get(choice, reason) for choice, reason in choices if choice
        )

    def use(self, name: str) -> Stack:
        """Choose a stack for this checkout, until another is chosen.

        Raises:
            StackNotFoundError: There is none of that name. The choice stays as it was.
            WorkspaceError: The choice cannot be kept.
        """
        stack = self.get(name)
        directory = workspace_directory(self._root)
        make_directory(directory)
        staged = directory / f"{CHOICE}.{os.getpid()}"
        try:
            staged.write_text(f"{name}\n")
            staged.replace(directory / CHOICE)
        except OSError as exc:
            raise WorkspaceError(
                f"The choice of the stack {name!r} cannot be kept in {directory}: {exc}. {ENVIRONMENT}={name} chooses "
                "it as well."
            ) from exc
        return stack


_lent: dict[str, Stack] = {}


@contextmanager
def lent(stack: Stack) -> Iterator[None]:
    """A stack that can be chosen inside the block by its name, in any project, by this process alone; for tests."""
    former, _lent[stack.name] = _lent.get(stack.name, stack), stack
    try:
        yield
    finally:
        del _lent[stack.name]
        if former is not stack:
            _lent[stack.name] = former


def _stacks(variables: Mapping[str, Any], origin: str) -> dict[str, Stack]:
    """The stacks among a module's variables, by their own names."""
    first: dict[str, str] = {}
    for variable, value in variables.items():
        if isinstance(value, Stack):
            other = first.setdefault(value.name, variable)
            if variables[other] != value:
                raise StackError(
                    f"{origin} calls two different stacks {value.name!r}: the variables {other} and {variable}. "
                    f'Give one of them another name, as Stack("{variable}", …).'
                )
    return {name: variables[variable] for name, variable in first.items()}


def _module(root: Path) -> ModuleType | None:
    """The module that pyproject.toml names, else stacks.py if there is one."""
    settings, file = root / "pyproject.toml", root / "stacks.py"
    name = configured(root).get("stacks")
    if not isinstance(name, str | None):
        raise StackError(f'{settings}: [tool.drystone] stacks is {name!r}. It names a module: stacks = "our_stacks".')
    sys.path.insert(0, str(root))
    try:
        if name is not None:
            return importlib.import_module(name)
        return _executed(file, file.read_bytes()) if file.is_file() else None
    except (Exception, SystemExit) as exc:
        missing = missing_module(name, exc) if name else ""
        if missing:
            raise StackError(
                f"[tool.drystone] in {settings} says stacks = {name!r}, but there is no module {missing!r}, neither "
                f"installed nor in {root}."
            ) from exc
        remedy = "Correct it; until then this project has no stacks."
        package = exc.name or "" if isinstance(exc, ModuleNotFoundError) else ""
        if package.startswith("drystone_") and "." not in package:  # else it is installed, and has no such module
            remedy = f"Install the plugin: pip install {package.replace('_', '-')}."
        place = located(exc, file if name is None else None)
        raise StackError(f"The stacks of this project cannot be loaded: {place}. {remedy}") from exc
    finally:
        with suppress(ValueError):  # the module may have taken it away
            sys.path.remove(str(root))


@functools.lru_cache(maxsize=8)
def _executed(file: Path, source: bytes) -> ModuleType:
    """Run `stacks.py` under a name that no other module has; once, unless its text changes."""
    module = ModuleType(f"drystone_stacks_{digest_bytes(str(file).encode())[:12]}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # where attrs and pickle look for the classes it defines
    exec(compile(source, str(file), "exec", dont_inherit=True), vars(module))
    return module
