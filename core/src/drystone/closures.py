"""The graph of what code reaches: functions, classes and constants, as they are loaded.

A node is made once per object and plan. Whatever decorators, metaclasses and imports did is in the loaded objects, so
those are followed; files only give functions a form that is free of layout.
"""

from __future__ import annotations

import functools
import re
import reprlib
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from drystone.bytecodes import Chain, loads
from drystone.digests import encode, frame, module_name, type_name
from drystone.origins import find_spec, home, is_compiled, is_namespace, module_file, origin_of
from drystone.pipelines import Pipeline, Step
from drystone.sources import Sources, sliced
from drystone.states import (
    annotation_texts,
    annotations_of,
    class_state,
    encode_state,
    global_place,
    is_dispatched,
    pieces,
)

_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = 400
_SHOWN.maxdict = _SHOWN.maxlist = _SHOWN.maxtuple = _SHOWN.maxset = 40

_late_forms: dict[tuple[str, str | None], tuple[types.ModuleType | None, str]] = {}
"""What this process first read of modules that functions import, or read last before they were imported."""


@attrs.define(eq=False)
class Node:
    """Something that code reaches.

    Attributes:
        name: Canonical, as in `library.Scaler.fit`.
        value: The object itself.
        fill: Finds out the rest, when it is asked for; None once it has, and for what counts by its name alone.
        member: Whether it is told apart in a closure; what is installed or built in is not.
        content: What it is, apart from what it reaches.
        source: What to show of it.
        edges: What it reaches, under the name it uses.
        package: The distribution it is from.
        problem: Why no digest can stand for it.
        edited: Its file was edited since it was loaded.
    """

    name: str
    value: Any = attrs.field(repr=False)
    fill: Callable[[Node], None] | None = attrs.field(default=None, repr=False)
    member: bool = True
    content: bytes = attrs.field(default=b"", repr=False)
    source: str | None = attrs.field(default=None, repr=False)
    edges: list[tuple[str, Node]] = attrs.field(factory=list, repr=False)
    package: tuple[str, str] | None = None
    problem: str | None = None
    edited: bool = False


class Reach:
    """Makes the nodes of one plan, each object once."""

    def __init__(self) -> None:
        self.sources = Sources()
        self._nodes: dict[tuple[Any, ...], Node] = {}
        self._steps: set[int] = set()

    def edges(self, node: Node) -> list[tuple[str, Node]]:
        """What a node reaches, under the name it uses; looked at when it is first asked for."""
        fill, node.fill = node.fill, None
        if fill is not None:
            fill(node)
        return node.edges

    # --- what there is a node for ---------------------------------------------------------------------------------

    def step(self, function: Any) -> Node:
        """The node of a step's function, whose own annotations say nothing that its key does not."""
        layer = function
        while layer is not None and id(layer) not in self._steps:
            self._steps.add(id(layer))
            layer = getattr(layer, "__wrapped__", None)
        return self.node(function, f"{module_name(function.__module__)}.{function.__qualname__}")

    def node(self, value: Any, place: str) -> Node:
        """The node of any object.

        Args:
            value: The object.
            place: Where it was found, which names it if it has no name of its own.
        """
        return self.code(value) or self._new(("value", id(value), place), place, value, self._fill_value)

    def code(self, value: Any) -> Node | None:
        """The node of a function, a class, a module or something installed; None for any other object."""
        if isinstance(value, Step | Pipeline):
            return self.step(value.fn)
        if isinstance(value, types.FunctionType) and not is_dispatched(value):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, types.BuiltinFunctionType) and is_compiled(home(value)):
            return self._module(sys.modules[home(value)])
        place = global_place(value)
        return self._installed(".".join(place), place[0], value) if place is not None else None

    def _new(self, key: tuple[Any, ...], name: str, value: Any, fill: Callable[[Node], None]) -> Node:
        if key not in self._nodes:
            self._nodes[key] = Node(name, value, fill)
        return self._nodes[key]

    def _installed(self, name: str, module: str, value: Any = None) -> Node:
        """A leaf: the standard library, Drystone itself, or a distribution, which counts by its version."""
        key = ("installed", name)
        if key not in self._nodes:
            package = origin_of(module).package
            self._nodes[key] = Node(name, value, member=False, content=name.encode(), package=package)
        return self._nodes[key]

    def _function(self, function: types.FunctionType) -> Node:
        bare = id(function) in self._steps
        key = ("function", id(function), bare)
        if key in self._nodes:
            return self._nodes[key]
        module = function.__globals__.get("__name__", "")
        origin = origin_of(module)
        place = None if origin.project else global_place(function)
        if place is not None:
            return self._installed(".".join(place), place[0], function)
        # Decorators do not change the name that code was compiled under; generated code has none of its own.
        generated = function.__code__.co_filename.startswith("<")
        name = function.__qualname__ if generated else function.__code__.co_qualname
        fill = functools.partial(self._fill_function, bare=bare) if origin.project else self._fill_wrapper
        node = self._new(key, f"{module_name(module)}.{name}", function, fill)
        node.package = None if origin.project else origin.package
        return node

    def _class(self, cls: type) -> Node:
        if not origin_of(home(cls)).project:
            return self._installed(type_name(cls), home(cls), cls)
        if is_compiled(home(cls)):
            return self._module(sys.modules[home(cls)])
        return self._new(("class", id(cls)), type_name(cls), cls, self._fill_class)

    def _module(self, module: types.ModuleType) -> Node:
        name = module_name(module.__name__)
        if not origin_of(module.__name__).project:
            return self._installed(name, module.__name__, module)
        return self._new(("module", id(module)), name, module, self._fill_module)

    def _late(self, module: str, name: str | None) -> Node:
        """What a module that code imports when it runs has under a name: from files alone.

        Whether such an import has happened yet must not change a digest, so loaded objects cannot be asked.
        """
        shown = f"{module}.{name}" if name else module
        return self._new(("late", module, name), shown, (module, name), self._fill_late)

    # --- what they reach ------------------------------------------------------------------------------------------

    def _link(self, node: Node, label: str, value: Any, place: str) -> None:
        """Note that a node reaches an object, looking into partials, descriptors and the like."""
        found = self.code(value)
        parts = pieces(value) if found is None else {}
        for piece, inner in parts.items():
            self._link(node, f"{label}.{piece}", inner, f"{place}.{piece}")
        if not parts:
            node.edges.append((label, found or self.node(value, place)))

    def _fill_function(self, node: Node, bare: bool) -> None:
        function: types.FunctionType = node.value
        described = self.sources.describe(function)
        node.source, node.edited = described.text, described.edited
        node.content = frame(b"function", described.form.encode(), encode({} if bare else annotation_texts(function)))
        cells = self._carried(node)
        for chain in loads(function.__code__):
            if chain.scope == "import":
                self._imported(node, chain, _package(function))
            elif chain.scope == "free" and chain.name in cells:
                self._follow(node, chain, cells[chain.name], f"{node.name}.{chain.name}")
            elif chain.scope == "global" and chain.name in function.__globals__ and not _is_dunder(chain.name):
                place = f"{module_name(function.__globals__.get('__name__', ''))}.{chain.name}"
                self._follow(node, chain, function.__globals__[chain.name], place)
        for name, annotation in annotations_of(function).items():
            if not bare or name != "return":
                for cls in _classes(annotation, function.__globals__):
                    node.edges.append((f"{name}:", self._class(cls)))

    def _fill_wrapper(self, node: Node) -> None:
        """A function that an installed distribution made here, around something of the project."""
        node.content = b"installed"
        for name, cell in self._carried(node).items():
            self._link(node, f"closure {name}", cell, f"{node.name}.{name}")
        if hasattr(node.value, "__wrapped__"):
            self._link(node, "__wrapped__", node.value.__wrapped__, f"{node.name}.__wrapped__")

    def _carried(self, node: Node) -> dict[str, Any]:
        """Link the defaults and attributes of a function; answer its closure variables."""
        function: types.FunctionType = node.value
        code, defaults = function.__code__, function.__defaults__ or ()
        named = dict(zip(code.co_varnames[code.co_argcount - len(defaults) :], defaults, strict=False))
        for name, default in (named | (function.__kwdefaults__ or {})).items():
            self._link(node, f"default {name}", default, f"{node.name}.{name}")
        for name, attribute in function.__dict__.items():
            if name != "__wrapped__":
                self._link(node, f"attribute {name}", attribute, f"{node.name}.{name}")
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        return {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}

    def _follow(self, node: Node, chain: Chain, value: Any, place: str) -> None:
        """Link what a chain of attributes leads to: through modules of the project, and no further."""
        for attribute in chain.attributes:
            if not isinstance(value, types.ModuleType) or attribute not in vars(value):
                break
            if not origin_of(value.__name__).project and not is_namespace(value):
                break
            place = f"{module_name(value.__name__)}.{attribute}"
            value = vars(value)[attribute]
        self._link(node, str(chain), value, place)

    def _imported(self, node: Node, chain: Chain, package: str) -> None:
        """Link what code imports when it runs."""
        name, attributes = _absolute(chain.name, package), chain.attributes
        label = ".".join((name, *attributes))
        while attributes and find_spec(f"{name}.{attributes[0]}") is not None:
            name, attributes = f"{name}.{attributes[0]}", attributes[1:]
        if origin_of(name).project:
            node.edges.append((label, self._late(name, attributes[0] if attributes else None)))
        else:
            node.edges.append((label, self._installed(name, name)))

    def _fill_late(self, node: Node) -> None:
        module, name = node.value
        spec = find_spec(module)
        path = spec.origin if spec is not None and spec.has_location else None
        file = self.sources.open(path)
        if spec is None or file is None:
            node.content = Path(path).read_bytes() if path is not None else b""
            return
        found = sliced(file, name)
        node.content, node.source = found.form.encode(), found.text
        node.edited = self._is_late_edit(module, name, found.form)
        for each in found.names:
            node.edges.append((each, self._late(module, each)))
        package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
        for chain in found.imports:
            self._imported(node, chain, package)

    def _is_late_edit(self, module: str, name: str | None, form: str) -> bool:
        """Whether a module that has been imported meanwhile may have been another when it was."""
        loaded = sys.modules.get(module)
        value = vars(loaded).get(name or "") if loaded is not None else None
        if isinstance(value, types.FunctionType) and home(value) == module:
            return self.sources.describe(value).edited
        seen, first = _late_forms.get((module, name), (loaded, form))
        if loaded is None or seen not in (None, loaded):
            first = form
        _late_forms[module, name] = loaded, first
        return first != form

    def _fill_module(self, node: Node) -> None:
        module: types.ModuleType = node.value
        if is_compiled(module.__name__):
            node.content = Path(str(module.__file__)).read_bytes()
            return
        node.content = b"module"
        for name, value in sorted(vars(module).items()):
            inside = not isinstance(value, types.ModuleType) or value.__name__.startswith(f"{module.__name__}.")
            if inside and not _is_dunder(name):
                self._link(node, name, value, f"{node.name}.{name}")

    def _fill_class(self, node: Node) -> None:
        cls: type = node.value
        file = self.sources.open(module_file(home(cls)))
        node.source = file.class_text(cls) if file is not None else None
        node.content, attributes = class_state(cls)
        for position, base in enumerate(cls.__bases__):
            self._link(node, f"base {position}", base, node.name)
        self._link(node, "metaclass", type(cls), node.name)
        for name, value in attributes.items():
            self._link(node, name, value, f"{node.name}.{name}")

    def _fill_value(self, node: Node) -> None:
        def refer(value: Any) -> str | None:
            found = self.code(value)
            if found is not None:
                node.edges.append(("", found))
            return found.name if found is not None else None

        try:
            node.content = encode_state(node.value, refer)
        except (Exception, RecursionError) as exc:
            if not _is_dunder(node.name.rpartition(".")[2]):
                node.problem = _unreadable(node, exc)
        node.edges.sort(key=lambda edge: edge[1].name)
        node.source = _shown(node.value)


def _unreadable(node: Node, exc: BaseException) -> str:
    reason = f"{type(exc).__name__}: {exc}".partition("\n")[0]
    return (
        f"{node.name} is a {type_name(type(node.value))}, whose state cannot be told apart from another's ({reason}). "
        f"Make it inside the step, pass it as a parameter or an artifact, or, if it does not change the result, "
        f"declare @step(ignore={node.name!r})."
    )


def _shown(value: object) -> str | None:
    try:
        return _SHOWN.repr(value)[:500]
    except Exception:
        return None


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _classes(annotation: Any, names: dict[str, Any]) -> Iterator[type]:
    """The project's classes in an annotation: their methods may be called on what is passed."""
    if isinstance(annotation, str):
        for path in re.findall(r"[A-Za-z_][\w.]*", annotation):
            name, *attributes = path.split(".")
            value = names.get(name)
            for attribute in attributes:
                value = vars(value).get(attribute) if isinstance(value, types.ModuleType) else None
            yield from () if isinstance(value, str) else _classes(value, names)
    for inner in typing.get_args(annotation):
        yield from _classes(inner, names)
    if isinstance(annotation, type) and origin_of(home(annotation)).project:
        yield annotation


def _package(function: types.FunctionType) -> str:
    names = function.__globals__
    return names.get("__package__") or str(names.get("__name__", "")).rpartition(".")[0]


def _absolute(name: str, package: str) -> str:
    stripped = name.lstrip(".")
    level = len(name) - len(stripped)
    if not level:
        return name
    above = package.rsplit(".", level - 1)[0]
    return f"{above}.{stripped}" if stripped else above
