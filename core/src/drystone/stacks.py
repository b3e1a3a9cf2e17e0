"""Stacks: components chosen together, found in the project's `stacks.py` and in plugins, one of them active."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, cast

import attrs

from drystone.components import ArtifactStore, Orchestrator, Place, Secret, StackComponent
from drystone.digests import digest_bytes, type_name
from drystone.errors import DuplicateComponentError, StackError, StackNotFoundError, listed, suggestion
from drystone.plugins import Plugins, load_plugins
from drystone.projects import located
from drystone.projects import project_root as project_root
from drystone.projects import workspace_directory as workspace_directory

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

REQUIRED = (Orchestrator.kind, ArtifactStore.kind)
"""The kinds without which nothing runs."""

CHOICE = "active-stack"
"""The file in the workspace's directory that keeps what `drystone stacks use` chose."""

ENVIRONMENT = "DRYSTONE_STACK"
"""The environment variable that names the stack to use."""


@attrs.frozen(init=False, repr=False)
class Stack:
    """A name and one component per kind.

    `Stack("dev", orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())`; every further kind is a
    keyword of its own, and an attribute: `stack.container_registry`.

    Raises:
        StackError: A kind is missing or filled with something else. All such problems are listed.
    """

    name: str
    components: Mapping[str, StackComponent] = attrs.field(hash=False)

    if TYPE_CHECKING:

        def __init__(
            self, name: str, *, orchestrator: Orchestrator, artifact_store: ArtifactStore, **others: StackComponent
        ) -> None: ...

    else:  # a missing kind is a StackError that says so, not a TypeError

        def __init__(self, name: str, **components: StackComponent) -> None:
            problems = [*_name_problems(name), *_component_problems(components)]
            if problems:
                raise StackError(listed([f"Stack {name!r}: {problem}" for problem in problems]))
            self.__attrs_init__(name, MappingProxyType(components))

    @property
    def orchestrator(self) -> Orchestrator:
        """Where steps run."""
        return cast(Orchestrator, self.components[Orchestrator.kind])

    @property
    def artifact_store(self) -> ArtifactStore:
        """Where artifacts are kept."""
        return cast(ArtifactStore, self.components[ArtifactStore.kind])

    def __getattr__(self, kind: str) -> Any:
        if kind.startswith("_") or kind in ("name", "components"):  # asked by copy and pickle before there is any
            raise AttributeError(kind)
        if kind not in self.components:
            hint = suggestion(kind, self.components, "Its components")
            raise AttributeError(f"Stack {self.name!r} has no {kind!r}.{hint}")
        return self.components[kind]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.name, dict(self.components))

    def __repr__(self) -> str:
        parts = [repr(self.name), *(f"{kind}={component!r}" for kind, component in self.components.items())]
        return f"Stack({', '.join(parts)})"

    def evolve(self, name: str, **components: StackComponent) -> Stack:
        """A stack with another name, and other components in place of some of these or beside them."""
        return _restored(name, {**self.components, **components})

    def at(self, place: Place) -> Stack:
        """This stack with every component filled in for the place where it is used."""
        return _restored(self.name, {kind: component.at(place) for kind, component in self.components.items()})

    def describe(self) -> dict[str, Any]:
        """The stack as JSON values, secrets as their references."""
        components = {
            kind: {"class": type_name(type(component)), "name": component.name, "settings": _settings(component)}
            for kind, component in self.components.items()
        }
        return {"name": self.name, "components": components}


def _restored(name: str, components: Mapping[str, StackComponent]) -> Stack:
    return Stack(name, **cast(dict[str, Any], components))


def _name_problems(name: object) -> Iterator[str]:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        yield "A stack's name starts with a letter or digit and goes on with letters, digits, '.', '_' and '-'."


def _component_problems(components: Mapping[str, object]) -> Iterator[str]:
    for kind in REQUIRED:
        if kind not in components:
            yield f"It has no {kind}. Every stack needs one: {kind}=…"
    for kind, component in components.items():
        if isinstance(component, type):
            yield f"{kind} is the class {component.__name__}. Write {component.__name__}(…)."
        elif not isinstance(component, StackComponent):
            yield f"{kind} is {component!r}, which is no stack component."
        elif component.kind != kind:
            yield f"{kind} is {component!r}, but its kind is {component.kind!r}. Write {component.kind}=…"


def _settings(component: StackComponent) -> dict[str, Any]:
    fields = [field for field in attrs.fields(type(component)) if field.init and not field.name.startswith("_")]
    return {field.name: _setting(getattr(component, field.name), shown=bool(field.repr)) for field in fields}


def _setting(value: Any, *, shown: bool = True) -> Any:
    """A setting as JSON; what its class keeps out of its repr is hidden, except that secrets show references."""
    if isinstance(value, Secret):
        return value.reference
    if isinstance(value, Mapping):
        return {str(key): _setting(item, shown=shown) for key, item in value.items()}
    if not shown:
        return "…"
    if isinstance(value, list | tuple | set | frozenset):
        return [_setting(item) for item in value]
    if attrs.has(type(value)):
        return {
            field.name: _setting(getattr(value, field.name), shown=bool(field.repr))
            for field in attrs.fields(type(value))
        }
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


@attrs.frozen
class _Definitions:
    """What a project's own module of stacks defines."""

    origin: str = ""
    stacks: Mapping[str, Stack] = attrs.field(factory=dict)
    default: str | None = None
    workspace: Any = None


class Stacks:
    """The stacks a project can use, and which of them is active."""

    def __init__(self, root: Path, plugins: Plugins, definitions: _Definitions) -> None:
        self._root = root
        self._plugins = plugins
        self._definitions = definitions
        self._stacks, self._sources = _offered(plugins)
        for name, stack in definitions.stacks.items():
            self._stacks[name], self._sources[name] = stack, definitions.origin

    @property
    def names(self) -> list[str]:
        """What can be chosen, in order."""
        return sorted(self._stacks)

    @property
    def workspace(self) -> Any:
        """The object that `stacks.py` calls `workspace`, or None."""
        return self._definitions.workspace

    def get(self, name: str) -> Stack:
        """The stack of a name.

        Raises:
            StackNotFoundError: There is none.
        """
        return self._named(name, "")

    def source(self, name: str) -> str:
        """Where a stack is defined: the path of a file, or a distribution."""
        return self._sources[self.get(name).name]

    def active(self, explicit: str | Stack | None = None) -> Stack:
        """The stack to use.

        The first of: the one given, `DRYSTONE_STACK`, what `use` chose, `default` in `stacks.py`, the stack that a
        plugin calls `default`.

        Raises:
            StackNotFoundError: The name that was found first is no stack's.
        """
        if isinstance(explicit, Stack):
            return explicit
        for name, origin in self._choices(explicit):
            if name:
                return self._named(name, origin)
        return self._named("default", "No stack was chosen, and the built-in one comes with the plugin drystone-local.")

    def use(self, name: str) -> Stack:
        """Choose a stack for this checkout, until another is chosen.

        Raises:
            StackNotFoundError: There is none of that name. The choice stays as it was.
        """
        stack = self.get(name)
        directory = workspace_directory(self._root)
        if not directory.exists():
            directory.mkdir(parents=True)
            (directory / ".gitignore").write_text("*\n")
        staged = directory / f"{CHOICE}.{os.getpid()}"
        staged.write_text(f"{stack.name}\n")
        staged.replace(directory / CHOICE)
        return stack

    def _choices(self, explicit: str | None) -> Iterator[tuple[str | None, str]]:
        yield explicit, ""
        yield os.environ.get(ENVIRONMENT), f"It was named by {ENVIRONMENT}."
        file = workspace_directory(self._root) / CHOICE
        chosen = file.read_text().strip() if file.is_file() else None
        yield chosen, f"It was chosen with `drystone stacks use`, which keeps it in {file}; choose another."
        yield self._definitions.default, f"It is the `default` of {self._definitions.origin}."

    def _named(self, name: str, origin: str) -> Stack:
        if name in self._stacks:
            return self._stacks[name]
        hint = f"{suggestion(name, self._stacks, 'Stacks')} {origin}".rstrip()
        define = (
            "" if self._definitions.origin else f" Stacks of a project's own are defined in {self._root}/stacks.py."
        )
        raise StackNotFoundError(f"There is no stack {name!r}.{hint}{define}{self._plugins.absent()}")


def find_stacks(root: Path | None = None, plugins: Plugins | None = None) -> Stacks:
    """The stacks of a project and of the installed plugins.

    Args:
        root: The project's root; found from the working directory by default.
        plugins: Those installed, by default.

    Raises:
        StackError: The file or module that defines stacks raises; names the place, and `__cause__` is what it raised.
        DuplicateComponentError: Two plugins offer stacks of one name.
    """
    root = root or project_root()
    return Stacks(root, plugins or load_plugins(), _definitions(root))


def _offered(plugins: Plugins) -> tuple[dict[str, Stack], dict[str, str]]:
    stacks: dict[str, Stack] = {}
    sources: dict[str, str] = {}
    for stack, plugin in plugins.offered("drystone_stacks"):
        if sources.get(stack.name, plugin.distribution) != plugin.distribution:
            raise DuplicateComponentError(
                f"Both {sources[stack.name]} and {plugin.distribution} offer a stack named {stack.name!r}. Uninstall "
                f"one of them, or block it: DRYSTONE_PLUGINS_DISABLE={plugin.name}."
            )
        stacks[stack.name], sources[stack.name] = stack, plugin.distribution
    return stacks, sources


def _definitions(root: Path) -> _Definitions:
    """What the module that pyproject.toml names defines, else what stacks.py does."""
    name = _configured(root / "pyproject.toml")
    file = root / "stacks.py"
    if name is not None:
        return _defined(_module(name, root))
    if not file.is_file():
        return _Definitions()
    return _defined(_executed(file, file.read_bytes()))


def _configured(file: Path) -> str | None:
    """The name after `stacks` in `[tool.drystone]`."""
    try:
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        name = _tool_settings(text).get("stacks")
    except (ValueError, TypeError, AttributeError) as exc:
        raise StackError(f"{file} cannot be read: {exc}.") from exc
    if name is not None and not isinstance(name, str):
        raise StackError(f'{file}: [tool.drystone] stacks is {name!r}. It names a module: stacks = "our_stacks".')
    return name


@functools.lru_cache(maxsize=8)
def _tool_settings(text: str) -> dict[str, Any]:
    """The table `[tool.drystone]`; most files do not mention it and are not parsed."""
    return dict(tomllib.loads(text).get("tool", {}).get("drystone", {})) if "drystone" in text else {}


def _module(name: str, root: Path) -> ModuleType:
    try:
        with _importing_from(root):
            return importlib.import_module(name)
    except (Exception, SystemExit) as exc:
        if isinstance(exc, ModuleNotFoundError) and exc.name and f"{name}.".startswith(f"{exc.name}."):
            raise StackError(
                f"[tool.drystone] in {root / 'pyproject.toml'} says stacks = {name!r}, but there is no module "
                f"{exc.name!r}, neither installed nor in {root}."
            ) from exc
        raise _raising(exc, None) from exc


@functools.lru_cache(maxsize=8)
def _executed(file: Path, source: bytes) -> ModuleType:
    """Run `stacks.py` under a name that no other module has; once, unless its text changes."""
    module = ModuleType(f"drystone_stacks_{digest_bytes(str(file).encode())[:12]}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # where attrs and pickle look for the classes it defines
    try:
        with _importing_from(file.parent):
            exec(compile(source, str(file), "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as exc:
        raise _raising(exc, file) from exc
    return module


@contextmanager
def _importing_from(root: Path) -> Iterator[None]:
    sys.path.insert(0, str(root))
    try:
        yield
    finally:
        if str(root) in sys.path:
            sys.path.remove(str(root))


def _raising(exc: BaseException, file: Path | None) -> StackError:
    remedy = "Correct it; until then this project has no stacks."
    if isinstance(exc, ModuleNotFoundError) and (exc.name or "").startswith("drystone_"):
        remedy = f"Install the plugin: pip install {str(exc.name).partition('.')[0].replace('_', '-')}."
    return StackError(f"The stacks of this project cannot be loaded: {located(exc, file)}. {remedy}")


def _defined(module: ModuleType) -> _Definitions:
    origin = str(module.__file__)
    stacks: dict[str, tuple[str, Stack]] = {}
    for variable, value in vars(module).items():
        if isinstance(value, Stack):
            first, other = stacks.setdefault(value.name, (variable, value))
            if other != value:
                raise StackError(
                    f"{origin} calls two different stacks {value.name!r}: the variables {first} and {variable}. "
                    f'Give one of them another name, as Stack("{variable}", …).'
                )
    return _Definitions(
        origin,
        {name: stack for name, (_, stack) in stacks.items()},
        _default(getattr(module, "default", None), origin),
        getattr(module, "workspace", None),
    )


def _default(value: object, origin: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Stack):
        return value.name
    raise StackError(f"{origin}: default is {value!r}. It must be one of the stacks: default = dev.")
