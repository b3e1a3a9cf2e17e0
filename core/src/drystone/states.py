"""The state of loaded objects as bytes that are the same in every process.

Where the state holds code (a function, a class, an instance of a project's class), a reference stands in its place:
the code is described elsewhere, and only once.
"""

from __future__ import annotations

import copyreg
import dataclasses
import datetime
import enum
import functools
import io
import logging
import os
import pathlib
import re
import sys
import threading
import types
import typing
import uuid
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from decimal import Decimal
from fractions import Fraction
from typing import Any

import attrs

from drystone.digests import encode, frame, module_name, type_name
from drystone.origins import OWN, home, origin_of
from drystone.pipelines import Pipeline, Step

Reference = Callable[[Any], bytes]
"""Takes code, notes that the state refers to it, and answers its name."""

_PLAIN: frozenset[type] = frozenset().union(
    (type(None), bool, int, float, complex, str, bytes, bytearray, type(...), Decimal, Fraction, uuid.UUID, re.Pattern),
    (datetime.datetime, datetime.date, datetime.time, datetime.timedelta, range, slice),
    (list, tuple, dict, set, frozenset),
)
_ANNOTATIONS = (types.GenericAlias, types.UnionType)
_NATIVE = (pathlib.PurePath, datetime.tzinfo, enum.Enum)
_INERT = (
    *(logging.Logger, logging.LoggerAdapter, logging.Handler, ContextVar, threading.local),
    *(type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Semaphore, threading.Event),
    *(type(os.environ), weakref.ReferenceType, weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet),
)
"""What has state, but none that a result could depend on."""

_CODE = (Step, Pipeline, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)

_PAYLOADS: dict[type, Callable[[Any], object]] = {
    dict: lambda value: dict(dict.items(value)),
    list: list.copy,
    tuple: lambda value: tuple.__getitem__(value, slice(None)),
    set: set.copy,
    frozenset: frozenset.copy,
    str: str.__str__,
    bytes: bytes.__bytes__ if hasattr(bytes, "__bytes__") else bytes,
    int: int.__int__,
    float: float.__float__,
    BaseException: lambda value: value.args,
}


def parts(value: Any) -> dict[str, Any] | None:
    """What a partial, a descriptor, a bound method or a cache of the project is made of; None for anything else."""
    if global_place(value) is not None:
        return None
    if isinstance(value, staticmethod | classmethod):
        return {type(value).__name__: value.__func__}
    if isinstance(value, property):
        return {"get": value.fget, "set": value.fset, "delete": value.fdel}
    if isinstance(value, functools.cached_property):
        return {"get": value.func}
    if isinstance(value, functools.partial | functools.partialmethod):
        return {"partial": value.func, "args": value.args, "keywords": value.keywords}
    if isinstance(value, types.MethodType):
        return {"method": value.__func__, "self": value.__self__}
    if isinstance(value, functools.singledispatchmethod):
        return {"dispatcher": value.dispatcher}
    if isinstance(value, functools._lru_cache_wrapper):
        return {"cached": value.__wrapped__, "cache": value.cache_parameters()}
    if isinstance(value, types.FunctionType) and hasattr(value, "registry") and hasattr(value, "__wrapped__"):
        return {"dispatched": value.__wrapped__, "registry": dict(value.registry)}
    return None


def encode_state(value: object, refer: Reference) -> bytes:
    """The state of an object.

    Args:
        value: Any object.
        refer: Called for each piece of code in it.

    Raises:
        Exception: The state cannot be taken, or not in the same way every time.
    """
    return encode(value, _Encoding(refer))


class _Encoding:
    """What `encode` asks first about a value and everything inside it."""

    def __init__(self, refer: Reference) -> None:
        self.refer = refer
        self.active: dict[int, int] = {}
        self.done: dict[int, tuple[object, bytes]] = {}

    def __call__(self, value: Any) -> bytes | None:
        kind = type(value)
        if kind in _PLAIN:
            return None
        if isinstance(value, _INERT) or _is_standard_stream(value):
            return frame(b"inert", type_name(kind).encode())
        if isinstance(value, types.MappingProxyType):
            return frame(b"mapping", self.inner(dict(value)))
        if id(value) in self.active:
            return frame(b"cycle", b"%d" % self.active[id(value)])
        if id(value) not in self.done:
            self.active[id(value)] = len(self.active)
            encoded = self._code(value) or self._object(value, kind)
            del self.active[id(value)]
            if encoded is None:
                return None
            self.done[id(value)] = value, encoded
        return self.done[id(value)][1]

    def inner(self, value: object) -> bytes:
        return encode(value, self)

    def _code(self, value: Any) -> bytes | None:
        if global_place(value) is not None:
            return frame(b"code", self.refer(value))
        pieces = parts(value)
        if pieces is not None:
            return frame(b"parts", self.inner(pieces))
        if isinstance(value, types.BuiltinFunctionType) and not isinstance(value.__self__, types.ModuleType | None):
            return frame(b"bound", value.__name__.encode(), self.inner(value.__self__))
        return frame(b"code", self.refer(value)) if isinstance(value, _CODE) else None

    def _object(self, value: Any, kind: type) -> bytes | None:
        if home(kind).partition(".")[0] in OWN:
            return None if attrs.has(kind) else frame(b"inert", type_name(kind).encode())
        if origin_of(home(kind)).project:
            return frame(b"instance", self.refer(kind), self._state(value, kind))
        if kind.__module__ == "typing" or isinstance(value, _ANNOTATIONS):
            classes = [self.inner(each) for each in typing.get_args(value) if isinstance(each, type)]
            return frame(b"annotation", annotation_text(value).encode(), *classes)
        if isinstance(value, _NATIVE):
            return None
        self.refer(kind)
        is_array = kind.__module__ == "numpy" and hasattr(value, "tobytes")
        if is_array or attrs.has(kind) or dataclasses.is_dataclass(kind):
            return None
        return self._reduced(value, kind)

    def _state(self, value: Any, kind: type) -> bytes:
        """The state of an instance of a project's class, without calling anything of that class if possible."""
        if isinstance(value, enum.Enum):
            return frame(b"member", str(value.name).encode())
        foreign = [base for base in kind.__mro__ if base is not object and not _is_transparent(base)]
        payloads = [base for base in foreign if base in _PAYLOADS]
        if foreign and not payloads:
            return self._reduced(value, kind)
        cached = {name for base in kind.__mro__ for name, each in vars(base).items() if _is_cached(each)}
        state = {name: each for name, each in getattr(value, "__dict__", {}).items() if name not in cached}
        slots = {
            f"{base.__qualname__}.{name}": each.__get__(value)
            for base in kind.__mro__
            for name, each in vars(base).items()
            if isinstance(each, types.MemberDescriptorType) and hasattr(value, name) and name != "__weakref__"
        }
        return frame(
            b"state", self.inner(state), self.inner(slots), *(self.inner(_PAYLOADS[b](value)) for b in payloads)
        )

    def _reduced(self, value: Any, kind: type) -> bytes:
        """The state as pickle and copy would take it."""
        reducer = copyreg.dispatch_table.get(kind)
        reduced = reducer(value) if reducer is not None else value.__reduce_ex__(4)
        if isinstance(reduced, str):
            return frame(b"global", f"{module_name(home(kind))}.{reduced}".encode())
        maker, arguments, *rest = reduced
        state, items, pairs = (*rest, None, None, None)[:3]
        taken = arguments, state, list(items or ()), [tuple(pair) for pair in pairs or ()]
        return frame(b"reduced", type_name(kind).encode(), self.inner(maker), *map(self.inner, taken))


def _is_standard_stream(value: object) -> bool:
    return isinstance(value, io.IOBase) and getattr(value, "name", None) in ("<stdin>", "<stdout>", "<stderr>")


def _is_transparent(base: type) -> bool:
    """Whether a class in a method resolution order adds no state of its own that only it could read."""
    return origin_of(home(base)).project or base.__module__ in ("abc", "typing", "collections.abc", "contextlib")


def _is_cached(attribute: object) -> bool:
    return isinstance(attribute, functools.cached_property)


def global_place(value: Any) -> tuple[str, str] | None:
    """Module and name under which an installed distribution has an object; name and version say all of it."""
    if not callable(value) or origin_of(home(type(value))).project:
        return None
    owner = type(getattr(value, "__self__", None))
    places = (home(value), getattr(value, "__qualname__", None)), (home(owner), getattr(value, "__name__", None))
    for module, name in places:
        if isinstance(name, str) and not origin_of(module).project and _found(module, name) is value:
            return module, name
    return None


def _found(module: str, name: str) -> object:
    found: Any = sys.modules.get(module)
    for each in name.split("."):
        found = getattr(found, each, None)
    return found


def annotation_text(annotation: object) -> str:
    """An annotation as text, without addresses in memory, and the same in a script that is run as when imported."""
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return type_name(annotation)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(annotation)).replace("__main__.", f"{module_name('__main__')}.")
