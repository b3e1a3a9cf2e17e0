"""The graph of what code reaches: functions, classes and constants, as they are loaded.

A node is made once per object and plan. Whatever decorators, metaclasses and imports did is in the loaded objects, so
those are followed; files only give functions a form that is free of layout.
"""

from __future__ import annotations

import builtins
import functools
import re
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drystone.bytecodes import Chain, chains
from drystone.classes import class_annotations, class_attributes
from drystone.digests import frame, module_name, type_name
from drystone.graphs import StepDefinition
from drystone.nodes import Node, is_filled, qualified, shown, unreadable
from drystone.origins import Origin, find_spec, home, is_compiled, is_open, origin_of
from drystone.pipelines import Pipeline, Step
from drystone.slices import sliced
from drystone.sources import Sources
from drystone.states import encode_state, global_place, parts

_late_forms: dict[tuple[str, str | None], tuple[types.ModuleType | None, bytes]] = {}
"""What this process first read of modules that functions import, or read last before they were imported."""


class Reach:
    """Makes the nodes of one plan, each object once."""

    def __init__(self) -> None:
        self.sources = Sources()
        self._nodes: dict[tuple[Any, ...], Node] = {}
        self._pending: list[Callable[[], None]] = []
        self._parts: dict[int, tuple[Any, dict[str, Any] | None]] = {}
        self._steps: set[int] = set()

    def step(self, definition: StepDefinition) -> Node:
        """The node of a step's function, with everything it reaches."""
        return self._complete(self._step(definition.function))

    def object(self, value: object, place: str) -> Node:
        """The node of any object, with everything it reaches."""
        return self._complete(self.node(value, place))

    def _complete(self, node: Node) -> Node:
        while self._pending:
            self._pending.pop()()
        return node

    def _new(self, key: tuple[Any, ...], node: Node, fill: Callable[[Node], None]) -> Node:
        self._nodes[key] = node
        self._pending.append(functools.partial(fill, node))
        return node

    # --- what there is a node for ---------------------------------------------------------------------------------

    def node(self, value: Any, place: str) -> Node:
        """The node of an object; what it reaches is filled in by `_complete`.

        Args:
            value: The object.
            place: Where it was found, which names it if it has no name of its own.
        """
        if isinstance(value, Step | Pipeline):
            return self._step(value.fn)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, types.BuiltinFunctionType) and is_compiled(home(value)):
            return self._module(sys.modules[home(value)])
        installed = global_place(value)
        if installed is not None:
            return self._installed(value, ".".join(installed), origin_of(installed[0]))
        key = ("value", id(value), place)
        return self._nodes.get(key) or self._new(key, Node(place, value), self._fill_value)

    def _installed(self, value: Any, name: str, origin: Origin) -> Node:
        """A leaf: the standard library, Drystone itself, or a distribution, which counts by its version."""
        key = ("installed", name)
        if key not in self._nodes:
            self._nodes[key] = Node(name, value, member=False, content=name.encode(), package=origin.package)
        return self._nodes[key]

    def _step(self, function: Any) -> Node:
        """The node of a step's function, whose own annotations say nothing that its key does not."""
        layer = function
        while layer is not None and id(layer) not in self._steps:
            self._steps.add(id(layer))
            layer = getattr(layer, "__wrapped__", None)
        return self.node(function, f"{module_name(function.__module__)}.{function.__qualname__}")

    def _function(self, function: types.FunctionType) -> Node:
        bare = id(function) in self._steps
        key = ("function", id(function), bare)
        if key in self._nodes:
            return self._nodes[key]
        module = function.__globals__.get("__name__", "")
        origin = origin_of(module)
        name = f"{module_name(module)}.{qualified(function)}"
        place = None if origin.project else global_place(function)
        if place is not None:
            return self._installed(function, ".".join(place), origin_of(place[0]))
        node = Node(name, function, package=origin.package)
        fill = functools.partial(self._fill_function, bare=bare) if origin.project else self._fill_wrapper
        return self._new(key, node, fill)

    def _class(self, cls: type) -> Node:
        key = ("class", id(cls))
        if key in self._nodes:
            return self._nodes[key]
        origin = origin_of(home(cls))
        if not origin.project:
            return self._installed(cls, type_name(cls), origin)
        if is_compiled(home(cls)):
            return self._module(sys.modules[home(cls)])
        return self._new(key, Node(type_name(cls), cls), self._fill_class)

    def _module(self, module: types.ModuleType) -> Node:
        key = ("module", id(module))
        if key in self._nodes:
            return self._nodes[key]
        name = module_name(module.__name__)
        origin = origin_of(module.__name__)
        if not origin.project:
            return self._installed(module, name, origin)
        return self._new(key, Node(name, module, content=b"module"), self._fill_module)

    # --- what they reach ------------------------------------------------------------------------------------------

    def link(self, node: Node, label: str, value: Any, place: str) -> None:
        """Note that a node reaches an object, looking into partials, descriptors and the like."""
        if id(value) not in self._parts:
            self._parts[id(value)] = value, parts(value)
        _, pieces = self._parts[id(value)]
        if pieces is None:
            node.edges.append((label, self.node(value, place)))
            return
        for piece, inner in pieces.items():
            self.link(node, f"{label}.{piece}", inner, f"{place}.{piece}")

    def _fill_function(self, node: Node, bare: bool) -> None:
        function: types.FunctionType = node.value
        described = self.sources.describe(function, bare)
        node.content, node.source, node.edited = described.form, described.text, described.edited
        cells = self._carried(node, function)
        for chain in chains(function.__code__):
            self._follow(node, function, chain, cells)
        for name, cell in cells.items():
            if not isinstance(cell, types.ModuleType):
                self.link(node, f"closure {name}", cell, f"{node.name}.{name}")
        for name, annotation in _annotations(function).items():
            if not bare or name != "return":
                self._annotated(node, function, f"{name}:", annotation)

    def _fill_wrapper(self, node: Node) -> None:
        """A function that an installed distribution made here, around something of the project."""
        function: types.FunctionType = node.value
        node.content = b"installed"
        for name, cell in self._carried(node, function).items():
            self.link(node, f"closure {name}", cell, f"{node.name}.{name}")
        if hasattr(function, "__wrapped__"):
            self.link(node, "__wrapped__", function.__wrapped__, f"{node.name}.__wrapped__")

    def _carried(self, node: Node, function: types.FunctionType) -> dict[str, Any]:
        """Link defaults and attributes; answer the closure variables."""
        code = function.__code__
        positional = code.co_varnames[: code.co_argcount]
        defaults = function.__defaults__ or ()
        named = dict(zip(positional[len(positional) - len(defaults) :], defaults, strict=True))
        for name, default in (named | (function.__kwdefaults__ or {})).items():
            self.link(node, f"default {name}", default, f"{node.name}.{name}")
        for name, attribute in function.__dict__.items():
            if name != "__wrapped__":
                self.link(node, f"attribute {name}", attribute, f"{node.name}.{name}")
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        return {name: cell.cell_contents for name, cell in cells if is_filled(cell)}

    def _follow(self, node: Node, function: types.FunctionType, chain: Chain, cells: dict[str, Any]) -> None:
        names = function.__globals__
        if chain.scope == "import":
            self._imported(node, chain.name, chain.attributes, _package(names))
        elif chain.scope == "free":
            if isinstance(cells.get(chain.name), types.ModuleType):
                self._attributes(node, str(chain), cells[chain.name], chain.name, chain.attributes)
        elif chain.name in names and not _is_dunder(chain.name):
            place = f"{module_name(names.get('__name__', ''))}.{chain.name}"
            self._attributes(node, str(chain), names[chain.name], place, chain.attributes)
        elif not hasattr(builtins, chain.name):
            node.edges.append((str(chain), self._installed(None, "missing", Origin())))

    def _attributes(self, node: Node, label: str, value: Any, place: str, attributes: tuple[str, ...]) -> None:
        """Link what a chain of attributes leads to: through modules of the project, and no further."""
        while isinstance(value, types.ModuleType) and attributes and is_open(value):
            first, *rest = attributes
            if first not in vars(value):
                break
            place = f"{module_name(value.__name__)}.{first}"
            value, attributes = vars(value)[first], tuple(rest)
        self.link(node, label, value, place)

    def _imported(self, node: Node, module: str, attributes: tuple[str, ...], package: str) -> None:
        """Link what code imports when it runs: from files alone, so that it is the same before and after."""
        name = _absolute(module, package)
        label = ".".join((name, *attributes))
        while attributes and find_spec(f"{name}.{attributes[0]}") is not None:
            name, attributes = f"{name}.{attributes[0]}", attributes[1:]
        origin = origin_of(name)
        if origin.project:
            node.edges.append((label, self._late(name, attributes[0] if attributes else None)))
        else:
            node.edges.append((label, self._installed(None, name, origin)))

    def _late(self, module: str, name: str | None) -> Node:
        key = ("late", module, name)
        if key in self._nodes:
            return self._nodes[key]
        return self._new(key, Node(f"{module}.{name}" if name else module, key), self._fill_late)

    def _fill_late(self, node: Node) -> None:
        _, module, name = node.value
        spec = find_spec(module)
        file = self.sources.open(spec.origin) if spec is not None and spec.origin is not None else None
        if spec is None or file is None:
            node.content = (
                Path(spec.origin).read_bytes() if spec is not None and spec.has_location and spec.origin else b""
            )
            return
        found = sliced(file, name)
        node.content, node.source = found.form, found.text
        node.edited = self._is_late_edit(module, name, found.form)
        for each in found.names:
            node.edges.append((each, self._late(module, each)))
        package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
        for imported, attributes in found.imports:
            self._imported(node, imported, attributes, package)

    def _is_late_edit(self, module: str, name: str | None, form: bytes) -> bool:
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

    def _annotated(self, node: Node, function: types.FunctionType, label: str, annotation: Any) -> None:
        """Link the project's classes in an annotation: their methods may be called on what is passed."""
        if isinstance(annotation, str):
            for path in re.findall(r"[A-Za-z_][\w.]*", annotation):
                name, *attributes = path.split(".")
                value = function.__globals__.get(name)
                for attribute in attributes:
                    value = vars(value).get(attribute) if isinstance(value, types.ModuleType) else None
                self._annotated(node, function, label, None if isinstance(value, str) else value)
            return
        for inner in typing.get_args(annotation):
            self._annotated(node, function, label, inner)
        if isinstance(annotation, type) and origin_of(home(annotation)).project:
            node.edges.append((label, self._class(annotation)))

    def _fill_module(self, node: Node) -> None:
        module: types.ModuleType = node.value
        if is_compiled(module.__name__):
            node.content = Path(str(module.__file__)).read_bytes()
            return
        for name, value in sorted(vars(module).items()):
            inside = not isinstance(value, types.ModuleType) or value.__name__.startswith(f"{module.__name__}.")
            if inside and not _is_dunder(name):
                self.link(node, name, value, f"{node.name}.{name}")

    def _fill_class(self, node: Node) -> None:
        cls: type = node.value
        file = self.sources.of(sys.modules.get(home(cls)))
        node.source = file.class_text(cls) if file is not None else None
        for position, base in enumerate(cls.__bases__):
            self.link(node, f"base {position}", base, node.name)
        self.link(node, "metaclass", type(cls), node.name)
        for name, value in class_attributes(cls):
            self.link(node, name, value, f"{node.name}.{name}")
        node.content = frame(b"class", *class_annotations(cls))

    def _fill_value(self, node: Node) -> None:
        def refer(value: Any) -> bytes:
            target = self.node(value, node.name)
            node.edges.append(("", target))
            return target.name.encode()

        name = node.name.rpartition(".")[2]
        try:
            node.content = encode_state(node.value, refer)
        except (Exception, RecursionError) as exc:
            if not _is_dunder(name):
                node.problem = unreadable(node, exc)
        node.edges.sort(key=lambda edge: edge[1].name)
        node.source = shown(node.value)


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _annotations(function: types.FunctionType) -> dict[str, Any]:
    try:
        return function.__annotations__
    except NameError:
        return {}  # Python 3.14 evaluates them now, and a name is for type-checkers only


def _package(names: dict[str, Any]) -> str:
    return names.get("__package__") or str(names.get("__name__", "")).rpartition(".")[0]


def _absolute(name: str, package: str) -> str:
    stripped = name.lstrip(".")
    level = len(name) - len(stripped)
    if not level:
        return name
    above = package.rsplit(".", level - 1)[0]
    return f"{above}.{stripped}" if stripped else above
