"""The graph of what code reaches: functions, classes and constants, as they are loaded.

A node is made once per object and plan. Whatever decorators, metaclasses and imports did is in the loaded objects, so
those are followed; files only give functions a form that is free of layout.
"""

from __future__ import annotations

import collections
import contextlib
import importlib.util
import re
import reprlib
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from drystone.digests import SCRIPT_NAME, encode, frame, module_name, type_name
from drystone.origins import find_spec, home, is_absent, is_compiled, is_namespace, module_file, origin_of
from drystone.pipelines import Pipeline, Step
from drystone.sources import Chain, Described, Sources, loads
from drystone.states import (
    annotation_text,
    annotations_of,
    class_state,
    encoding,
    global_place,
    inside_annotation,
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
        absent: It is from a module that is not installed here, and imported only when the code runs.
        problem: Why no digest can stand for it.
        bare: It is what `@step` decorates, whose annotations say nothing that the step's key does not.
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
    absent: bool = False
    problem: str | None = None
    edited: bool = False
    bare: bool = False


class Reach:
    """Makes the nodes of one plan, each object once."""

    def __init__(self) -> None:
        self.sources = Sources()
        self._nodes: dict[tuple[Any, ...], Node] = {}

    def edges(self, node: Node) -> list[tuple[str, Node]]:
        """What a node reaches, under the name it uses; looked at when it is first asked for."""
        fill, node.fill = node.fill, None
        if fill is not None:
            fill(node)
        return node.edges

    # --- what there is a node for ---------------------------------------------------------------------------------

    def node(self, value: Any, place: str = "", *, bare: bool = False) -> Node:
        """The node of any object.

        Args:
            value: The object.
            place: Where it was found, which names it if it has no name of its own.
            bare: See `Node`.
        """
        key = ("value", id(value), place)
        return self.code(value, bare=bare) or self._new(key, place, value, self._fill_value, bare)

    def step(self, function: Any) -> Node:
        """The node of the function of a step."""
        return self.node(function, f"{module_name(function.__module__)}.{function.__qualname__}", bare=True)

    def code(self, value: Any, *, bare: bool = False) -> Node | None:
        """The node of a function, a class, a module or something installed; None for any other object."""
        if isinstance(value, Step | Pipeline):
            return self.step(value.fn)
        place = global_place(value)
        if place is not None:
            return self._installed(".".join(place), place[0], value)
        if isinstance(value, types.FunctionType):
            key = ("function", id(value), bare)
            return None if pieces(value) else self._new(key, _function_name(value), value, self._fill_function, bare)
        if isinstance(value, types.BuiltinFunctionType | type) and is_compiled(home(value)):
            value = sys.modules[home(value)]
        if isinstance(value, types.ModuleType):
            name, module, fill = module_name(value.__name__), value.__name__, self._fill_module
        elif isinstance(value, type):
            name, module, fill = type_name(value), home(value), self._fill_class
        else:
            return None
        followed = origin_of(module).project
        return self._new(("code", id(value)), name, value, fill) if followed else self._installed(name, module, value)

    def _new(
        self, key: tuple[Any, ...], name: str, value: Any, fill: Callable[[Node], None] | None, bare: bool = False
    ) -> Node:
        if key not in self._nodes:
            self._nodes[key] = Node(name, value, fill, bare=bare)
        return self._nodes[key]

    def _installed(self, name: str, module: str, value: Any = None) -> Node:
        """A leaf: the standard library, Drystone itself, or a distribution, which counts by its version."""
        node = self._new(("installed", name), name, value, None)
        node.member, node.content, node.package = False, name.encode(), origin_of(module).package
        node.absent = is_absent(module)
        return node

    def _late(self, module: str, name: str | None) -> Node:
        """What a module that code imports when it runs has under a name: from files alone.

        Whether such an import has happened yet must not change a digest, so loaded objects cannot be asked.
        """
        shown = f"{module}.{name}" if name else module
        return self._new(("late", module, name), shown, (module, name), self._fill_late)

    # --- what they reach ------------------------------------------------------------------------------------------

    def _link(self, node: Node, label: str, value: Any, place: str) -> None:
        """Note that a node reaches an object, looking into partials, descriptors and the like."""
        found = self.code(value, bare=node.bare and value is getattr(node.value, "__wrapped__", None))
        parts = pieces(value) if found is None else {}
        self._link_all(node, parts, f"{label}.", place)
        if not parts:
            node.edges.append((label, found or self.node(value, place)))

    def _link_all(self, node: Node, values: Mapping[str, Any], prefix: str = "", place: str = "") -> None:
        for name, value in values.items():
            self._link(node, f"{prefix}{name}", value, f"{place or node.name}.{name}")

    def _fill_function(self, node: Node) -> None:
        function: types.FunctionType = node.value
        code, names, module = function.__code__, function.__globals__, _module(function)
        origin, annotations = origin_of(module), annotations_of(function)
        if node.bare:
            annotations.pop("return", None)
        texts = {name: annotation_text(each) for name, each in annotations.items() if not node.bare}
        # A function that an installed distribution made here, around something of the project, is as its version is.
        described = self.sources.function(function) if origin.project else Described("installed", None, loads(code))
        node.content = frame(b"function", described.form.encode(), encode(texts))
        node.source, node.edited = described.text, described.edited
        node.package = None if origin.project else origin.package
        defaults = zip(code.co_varnames[code.co_argcount - 1 :: -1], (function.__defaults__ or ())[::-1], strict=False)
        self._link_all(node, dict(defaults) | (function.__kwdefaults__ or {}), "default ")
        self._link_all(node, function.__dict__, "attribute ")
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        filled = {name: cell.cell_contents for name, cell in cells if cell != types.CellType()}
        for chain in described.chains:
            if chain.scope == "free" and chain.name in filled:
                self._follow(node, chain, filled[chain.name], f"{node.name}.{chain.name}")
            elif chain.scope == "import" and origin.project:
                self._imported(node, chain, names.get("__package__") or module.rpartition(".")[0])
            elif chain.scope == "global" and origin.project and chain.name in names and chain.name not in _NOTED:
                self._follow(node, chain, names[chain.name], f"{module_name(module)}.{chain.name}")
        for name, annotation in annotations.items():
            node.edges += [(f"{name}:", self.node(cls)) for cls in _classes(annotation, names)]

    def _follow(self, node: Node, chain: Chain, value: Any, place: str) -> None:
        """Link what a chain of attributes leads to: through modules of the project, and no further."""
        for attribute in chain.attributes:
            if not isinstance(value, types.ModuleType) or attribute not in vars(value):
                break
            if not origin_of(value.__name__).project and not is_namespace(value):
                break
            place = f"{module_name(value.__name__)}.{attribute}"
            value = vars(value)[attribute]
        self._link(node, ".".join((chain.name, *chain.attributes)), value, place)

    def _imported(self, node: Node, chain: Chain, package: str) -> None:
        """Link what code imports when it runs."""
        try:
            name, attributes = importlib.util.resolve_name(chain.name, package), chain.attributes
        except ImportError:
            return  # running it will say so
        label = ".".join((name, *attributes))
        while attributes and find_spec(f"{name}.{attributes[0]}") is not None:
            file = self.sources.open(module_file(name)) if origin_of(name).project else None
            if file is not None and file.binds(attributes[0]):  # to something else than its submodule, maybe
                node.edges.append((label, self._late(name, attributes[0])))
            name, attributes = f"{name}.{attributes[0]}", attributes[1:]
        if origin_of(name).project and not is_absent(name):
            node.edges.append((label, self._late(name, attributes[0] if attributes else None)))
        else:  # its full name, which does not tell whether it is installed here: it may be where the step runs
            node.edges.append((label, self._installed(label, name)))

    def _fill_late(self, node: Node) -> None:
        module, name = node.value
        path = Path(module_file(module) or "")
        file = self.sources.open(str(path))
        if file is None or file.is_deep:
            node.content = path.read_bytes() if path.is_file() else b""
            return
        described = file.statements(name)
        node.content, node.source = described.form.encode(), described.text
        node.edited = self._is_late_edit(module, name, described.form)
        for chain in described.chains:
            if chain.scope == "import":
                self._imported(node, chain, module if path.stem == "__init__" else module.rpartition(".")[0])
            else:
                node.edges.append((chain.name, self._late(module, chain.name)))

    def _is_late_edit(self, module: str, name: str | None, form: str) -> bool:
        """Whether a module that has been imported meanwhile may have been another when it was."""
        loaded = sys.modules.get(module)
        value = vars(loaded).get(name or "") if loaded is not None else None
        if isinstance(value, types.FunctionType) and home(value) == module:
            return self.sources.function(value).edited
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
            if inside and name not in _NOTED:
                self._link(node, name, value, f"{node.name}.{name}")

    def _fill_class(self, node: Node) -> None:
        cls: type = node.value
        file = self.sources.open(module_file(home(cls)))
        node.source = file.class_text(cls) if file is not None else None
        node.content, attributes = class_state(cls)
        self._link_all(node, {str(position): base for position, base in enumerate(cls.__bases__)}, "base ")
        self._link_all(node, {"metaclass": type(cls), **attributes})

    def _fill_value(self, node: Node) -> None:
        named = collections.Counter[str]()

        def refer(value: Any) -> str | None:
            found = self.code(value, bare=node.bare)
            if found is None:
                return None
            named[found.name] += 1  # several lambdas, say, share one name
            reference = f"{found.name}#{named[found.name]}"
            node.edges.append((reference, found))
            return reference

        try:
            node.content = encode(node.value, encoding(refer))
        except (Exception, RecursionError) as exc:
            reason = f"{type(exc).__name__}: {exc}".partition("\n")[0]
            if not _is_dunder(node.name.rpartition(".")[2]):
                node.problem = (
                    f"{node.name} is a {type_name(type(node.value))}, whose state cannot be told apart from another's "
                    f"({reason}). Make it inside the step, pass it as a parameter or an artifact, or, if it does not "
                    f"change the result, declare @step(ignore={node.name!r})."
                )
        node.edges.sort(key=lambda edge: edge[1].name)
        with contextlib.suppress(Exception):  # the class's own, in its __repr__
            node.source = _SHOWN.repr(node.value)[:500]


_NOTED = {
    *("__name__", "__doc__", "__package__", "__loader__", "__spec__", "__file__", "__cached__", "__path__"),
    *("__builtins__", "__annotations__", "__annotate__", "__warningregistry__", SCRIPT_NAME),
}
"""What Python, or Drystone, notes of every module."""


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _classes(annotation: Any, names: dict[str, Any], above: tuple[int, ...] = ()) -> Iterator[type]:
    """The project's classes in an annotation: their methods may be called on what is passed."""
    if id(annotation) in above:
        return
    above = (*above, id(annotation))
    if isinstance(annotation, str):
        for path in re.findall(r"[A-Za-z_][\w.]*", annotation):
            name, *attributes = path.split(".")
            value = names.get(name)
            for attribute in attributes:
                value = vars(value).get(attribute) if isinstance(value, types.ModuleType) else None
            yield from () if isinstance(value, str) else _classes(value, names, above)
    for inner in inside_annotation(annotation):
        yield from _classes(inner, names, above)
    if isinstance(annotation, type) and origin_of(home(annotation)).project:
        yield annotation


def _module(function: types.FunctionType) -> str:
    return str(function.__globals__.get("__name__", ""))


def _function_name(function: types.FunctionType) -> str:
    """Decorators do not change the name that code was compiled under; generated code has none of its own."""
    generated = function.__code__.co_filename.startswith("<")
    return f"{module_name(_module(function))}.{function.__qualname__ if generated else function.__code__.co_qualname}"
