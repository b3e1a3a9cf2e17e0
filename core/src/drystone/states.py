"""The state of loaded objects as bytes that are the same in every process.

Where the state holds code (a function, a class, an instance of a project's class), a reference stands in its place:
the code is described elsewhere, and only once.
"""

from __future__ import annotations

import collections
import contextlib
import copyreg
import datetime
import enum
import functools
import inspect
import io
import logging
import os
import pathlib
import re
import sys
import threading
import types
import typing
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from functools import cached_property
from typing import Any

from drystone.digests import encode, fields_of, frame, is_plain, module_name, type_name
from drystone.origins import OWN, home, origin_of

_ANNOTATIONS = (types.GenericAlias, types.UnionType)
_STATELESS = ("abc", "typing", "collections.abc", "contextlib")
"""Modules of base classes that add no state of their own."""

_STREAMS = ("<stdin>", "<stdout>", "<stderr>")
_INERT = (
    *(logging.Logger, logging.LoggerAdapter, logging.Handler, ContextVar, threading.local),
    *(type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Semaphore, threading.Event),
    *(type(os.environ), weakref.ReferenceType, weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet),
)
"""What has state, but none that a result could depend on."""

_WRAPPERS = (
    *(staticmethod, classmethod, property, cached_property, types.MethodType),
    *(functools.partial, functools.partialmethod, functools.singledispatchmethod),
)
_HELD = ("__func__", "__self__", "fget", "fset", "fdel", "func", "args", "keywords", "dispatcher")


def pieces(value: Any) -> dict[str, Any]:
    """What a partial, a descriptor, a bound method or a cache is made of; nothing for anything else."""
    if isinstance(value, types.FunctionType) and hasattr(value, "registry") and hasattr(value, "__wrapped__"):
        return {"dispatched": value.__wrapped__, "registry": dict(value.registry)}
    if isinstance(value, functools._lru_cache_wrapper):
        return {"cached": value.__wrapped__, "cache": value.cache_parameters()}
    if not isinstance(value, _WRAPPERS):
        return {}
    held = {name: getattr(value, name, None) for name in _HELD}
    more = {} if type(value) in _WRAPPERS else _lasting(vars(value), type(value))
    return {"of": type(value), **{name: piece for name, piece in (more | held).items() if piece is not None}}


def encoding(refer: Callable[[Any], str | None]) -> Callable[[Any], bytes | None]:
    """What `digests.encode` is to ask first about a value and everything inside it.

    Taking the state apart can raise anything that pickling the value could.

    Args:
        refer: Answers the name of code, and notes that the state refers to it; None for what is no code.
    """
    active: dict[int, int] = {}
    done: dict[int, tuple[object, bytes | None]] = {}

    def encoded(value: Any) -> bytes | None:
        if is_plain(type(value)):
            return None
        if id(value) in active:
            return frame(b"cycle", b"%d" % active[id(value)])
        if id(value) not in done:
            active[id(value)] = len(active)
            name = refer(value)
            parts = ("code", name) if name is not None else _parts(value)
            done[id(value)] = value, None if parts is None else encode(parts, encoded)
            del active[id(value)]
        return done[id(value)][1]

    return encoded


def _parts(value: Any) -> tuple[Any, ...] | None:
    """What an object is made of; the names of attributes and the like, and what they hold."""
    kind = type(value)
    origin, made_of = origin_of(home(kind)), pieces(value)
    if made_of:
        return "pieces", made_of
    if isinstance(value, _INERT) or (isinstance(value, io.IOBase) and getattr(value, "name", None) in _STREAMS):
        return "inert", type_name(kind)
    if isinstance(value, types.MappingProxyType):
        return "mapping", dict(value)
    if isinstance(value, types.BuiltinFunctionType):
        return "bound", value.__name__, value.__self__
    if isinstance(value, _ANNOTATIONS) or kind.__module__ == "typing":
        return "annotation", annotation_text(value), inside_annotation(value)
    if isinstance(value, enum.Enum):
        return "member", kind, value.name or value.value
    if isinstance(value, pathlib.PurePath | datetime.tzinfo):
        return None
    if origin.project:
        return _state(value, kind)
    fields = fields_of(kind)
    if fields is not None:
        return "fields", kind, {name: getattr(value, name, None) for name, counts in fields.items() if counts}
    return ("inert", type_name(kind)) if home(kind).partition(".")[0] in OWN else _reduced(value, kind)


def _state(value: Any, kind: type) -> tuple[Any, ...]:
    """The state of an instance of a project's class, without calling anything of that class if possible."""
    for base in kind.__mro__[:-1]:
        if base.__module__ not in _STATELESS and not origin_of(home(base)).project:
            return _reduced(value, kind)
    state: Any = object.__getstate__(value)
    return "instance", kind, *(_lasting(each, kind) for each in (state if isinstance(state, tuple) else (state,)))


def _reduced(value: Any, kind: type) -> tuple[Any, ...]:
    """The state as pickle and copy would take it."""
    reducer = copyreg.dispatch_table.get(kind)
    reduced = reducer(value) if reducer is not None else value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return "global", f"{module_name(home(kind))}.{reduced}"
    maker, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    if isinstance(value, set | frozenset):
        arguments = set(arguments[0])  # pickle takes a list, in an order that is another in each process
    contents = list(items or ()), [tuple(each) for each in pairs or ()]
    return "reduced", kind, maker, arguments, _lasting(state, kind), *contents


def _lasting(state: Any, kind: type) -> Any:
    """Attributes without a docstring, and those that only cache what a property computed, which may happen or not."""
    if not isinstance(state, dict):
        return state
    cached = {name for base in kind.__mro__ for name, each in vars(base).items() if isinstance(each, cached_property)}
    return {name: each for name, each in state.items() if name not in cached and name != "__doc__"}


def global_place(value: Any) -> tuple[str, str] | None:
    """Module and name under which an installed distribution has an object; name and version say all of it."""
    if not callable(value):
        return None
    maker = value.__globals__.get("__name__", "") if isinstance(value, types.FunctionType) else home(type(value))
    if origin_of(maker).project:
        return None
    owner = type(getattr(value, "__self__", None))
    places = (home(value), getattr(value, "__qualname__", None)), (home(owner), getattr(value, "__name__", None))
    for module, name in places:
        if isinstance(name, str) and not origin_of(module).project:
            found: Any = sys.modules.get(module)
            for each in name.split("."):
                found = getattr(found, each, None)
            if found is value:
                return module, name
    return None


def annotation_text(annotation: object) -> str:
    """An annotation as text, without addresses in memory, and the same in a script that is run as when imported."""
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return type_name(annotation)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(annotation)).replace("__main__.", f"{module_name('__main__')}.")


def inside_annotation(annotation: object) -> list[Any]:
    """What an annotation is made of: its arguments, and what an alias or a variable stands for."""
    inside = list(typing.get_args(annotation))
    for name in ("__supertype__", "__bound__", "__constraints__", "__value__", "__forward_arg__"):
        with contextlib.suppress(AttributeError, NameError):  # it may name what is there for type-checkers only
            inside.append(getattr(annotation, name))
    return inside


_ACCIDENTAL = {
    *("__doc__", "__module__", "__qualname__", "__firstlineno__", "__static_attributes__", "__signature__"),
    *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__parameters__", "__slots__"),
    *("__abstractmethods__", "_abc_impl", "__slotnames__", "__dataclass_fields__"),
    *("__attrs_attrs__", "__attrs_props__", "__attrs_own_setattr__"),
}
"""Attributes of a class that say nothing of what it does, or say again what its fields and annotations do."""

_MAKERS = {"attr", "collections", "dataclasses", "enum", "reprlib", "typing"}
_GENERATED = ("<string>", "<attrs generated")
_Pair = collections.namedtuple("_Pair", ["first"])
_MACHINERY = (types.MemberDescriptorType, types.GetSetDescriptorType, type(_Pair.first))


def class_state(cls: type) -> tuple[bytes, dict[str, Any]]:
    """What a class is, once decorators and metaclasses are done with it, and what it holds.

    Returns:
        Its annotations and the names of slots and generated methods, as bytes; then its attributes, the members of an
        enum in their order, and the fields of a dataclass or attrs class, which say what is in the generated methods.
    """
    names = vars(cls)
    members = names.get("_member_map_", {})
    fields = {field.name: field for field in names.get("__attrs_attrs__", ())} or names.get("__dataclass_fields__", {})
    generated = sorted(name for name, value in names.items() if _is_generated(name, value))
    written = {
        name: value
        for name, value in sorted(names.items())
        if not (name in _ACCIDENTAL or name in generated or name in members or isinstance(value, _MACHINERY))
        and not ("_member_map_" in names and _is_counted(name, value))
    }
    written |= {f"member {order} {name}": member._value_ for order, (name, member) in enumerate(members.items())}
    written |= {f"field {order} {name}": field for order, (name, field) in enumerate(fields.items())}
    texts = {name: annotation_text(each) for name, each in annotations_of(cls).items()}
    slots = sorted(name for name, value in names.items() if isinstance(value, _MACHINERY))
    return encode((texts, generated, slots)), written


def _is_generated(name: str, value: Any) -> bool:
    """Whether a method was written by dataclasses, attrs or the like."""
    function = getattr(value, "__func__", value)
    if not isinstance(function, types.FunctionType) or name == "__getattr__":  # which holds attrs' cached properties
        return False
    code = function.__code__
    made = code.co_filename.startswith(_GENERATED) and code.co_qualname != function.__qualname__
    return made or function.__globals__.get("__name__", "").partition(".")[0] in _MAKERS


def _is_counted(name: str, value: Any) -> bool:
    """Whether an attribute of an enum only repeats what its members say; hooks do not, nor the boundary of flags."""
    is_hook = callable(value) or isinstance(value, classmethod) or name == "_boundary_"
    return re.fullmatch("_[^_].*[^_]_", name) is not None and not is_hook


def annotations_of(value: Any) -> dict[str, Any]:
    """The annotations of a function or class; none if they name what is there for type-checkers only."""
    try:
        return inspect.get_annotations(value)
    except NameError:  # Python 3.14 evaluates them now
        return {}
