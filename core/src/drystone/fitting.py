"""Whether a value, or another annotation, fits an annotation."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import Any, Literal, NewType, Union, get_args, get_origin

from drystone.annotations import (
    bare,
    fields_of_tuple,
    is_required,
    is_typed_dict,
    is_unpacked,
    is_variable,
    keys_of_dict,
    plain,
    substituted,
)


def fits(source: Any, target: Any) -> bool:
    """Whether values of one annotation may go where another is expected.

    Gives the benefit of the doubt: only what is surely wrong is False, and a type checker would refuse that as well.
    """
    if source is target:
        return True
    try:
        return _fits(source, target)
    except RecursionError:  # two aliases that name themselves
        return True


def accepts(value: Any, annotation: Any) -> bool:
    """Whether a value is what an annotation says, as far as that can be seen without walking large containers.

    What a value is accepted for, its class fits.
    """
    if type(value) is annotation:  # as most are
        return True
    try:
        return any(_accepts(value, each) for each in _alternatives(annotation))
    except RecursionError:  # a value that contains itself
        return True


def member_annotations(annotation: Any, container: type, places: Sequence[Any]) -> list[Any]:
    """What each item of a list or tuple, or of a dict the value of each key, must be; `Any` where that is open."""
    annotation = bare(annotation)
    keys, fields = keys_of_dict(annotation), fields_of_tuple(annotation)
    if keys is not None:
        return [keys.get(place, Any) for place in places]
    arguments, wanted = tuple(fields.values()) if fields else get_args(annotation), _class(annotation)
    if (fields or wanted is tuple) and not is_variable(arguments):
        return list(arguments) if len(arguments) == len(places) else [Any] * len(places)
    if wanted is tuple:
        return [_items_of_tuple(arguments)[0]] * len(places)
    is_container = wanted is not None and wanted.__module__ in _CONTAINERS
    return [arguments[-1] if is_container and len(arguments) == (2 if container is dict else 1) else Any] * len(places)


def element_annotation(annotation: Any) -> Any:
    """What the members of a list of this annotation are: `Any` where that is open, None where it is surely no list."""
    inside = [_inside(each) for each in _alternatives(annotation)]
    found = [each for each in inside if each is not None]
    return Union[tuple(found)] if found else None  # noqa: UP007 - of as many as there are


def _inside(annotation: Any) -> Any:
    outer = _class(bare(annotation))
    if outer is None:
        return Any
    if not _is_a(outer, tuple) and not _is_a(list, outer):
        return None
    wanted = tuple if _is_a(outer, tuple) else collections.abc.Iterable
    arguments = _arguments_as(bare(annotation), wanted)
    return (_items_of_tuple(arguments) if wanted is tuple else arguments)[0] if arguments else Any


SAMPLE = 100
"""How many items of a container `accepts` looks at."""

_CALLABLE: Any = collections.abc.Callable
_CONTAINERS = ("builtins", "collections", "collections.abc")
"""Modules of classes whose arguments are understood though they do not inherit from one another as generic classes."""

_WIDER: dict[type, tuple[type, ...]] = {float: (int,), complex: (int, float), bytes: (bytearray, memoryview)}
"""What the type system lets stand for something it is no subclass of."""

_ITEMS: dict[type, tuple[Any, ...]] = {str: (str,), bytes: (int,), bytearray: (int,), memoryview: (int,), range: (int,)}
"""What built-in sequences without type arguments hold."""


def _items_of_tuple(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """What any item of a tuple with these arguments is, as one argument."""
    if any(map(is_unpacked, arguments)):
        return (Any,)
    return (Union[tuple(each for each in arguments if each is not Ellipsis)],)  # noqa: UP007 - of as many as there are


def _alternatives(annotation: Any) -> list[Any]:
    annotation = plain(annotation)
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return [each for member in get_args(annotation) for each in _alternatives(member)]
    return [annotation]


def _fits(source: Any, target: Any) -> bool:
    return any(_one_fits(one, other) for one in _alternatives(source) for other in _alternatives(target))


def _one_fits(source: Any, target: Any) -> bool:
    if isinstance(source, NewType) and isinstance(target, NewType):
        return source in _named(target) or target in _named(source)
    source, target = bare(source), bare(target)
    if len(_alternatives(source)) + len(_alternatives(target)) > 2:  # of a new type made of a union
        return _fits(source, target)
    if get_origin(source) is Literal:
        return any(_accepts(each, target) for each in get_args(source))
    if get_origin(target) is Literal:
        return any(_fits(type(each), source) for each in get_args(target))
    if any(is_typed_dict(get_origin(each) or each) for each in (source, target)):
        return _dict_fits(source, target)
    outer, wanted = _class(source), _class(target)
    if outer is None or wanted is None:
        return True
    if not _possible(outer, wanted):
        return False
    if _is_a(outer, wanted):
        return _arguments_fit(wanted, _arguments_as(source, wanted), get_args(target))
    return not _is_a(wanted, outer) or _arguments_fit(outer, get_args(source), _arguments_as(target, outer))


def _named(annotation: Any) -> list[Any]:
    """A new type, and those that it is made of."""
    chain = []
    while isinstance(annotation, NewType):
        chain.append(annotation)
        annotation = plain(annotation.__supertype__)
    return chain


def _dict_fits(source: Any, target: Any) -> bool:
    """Whether one `TypedDict` fits another, by their keys, or one of them a mapping of another kind."""
    have, want = keys_of_dict(source), keys_of_dict(target)
    if have is not None and want is not None:
        needed = {name for name, hint in want.items() if is_required(hint)}
        return needed <= have.keys() and all(_fits(have[name], want[name]) for name in needed)
    needed_of = [hint for hint in (have or want or {}).values() if is_required(hint)] or [Any]
    if have is not None:
        return all(_fits(dict[str, hint], target) for hint in needed_of)  # type: ignore[valid-type]
    return all(_fits(source, dict[str, hint]) for hint in needed_of)  # type: ignore[valid-type]


def _possible(outer: type, wanted: type) -> bool:
    """Whether a value can be of both classes: one is the other, or something that is loaded is both."""
    if any(_is_a(outer, each) for each in (wanted, *_WIDER.get(wanted, ()))) or _is_a(wanted, outer):
        return True
    if _is_closed(outer) or _is_closed(wanted):
        return False
    return any(_is_a(each, wanted) for each in _below(outer)) or any(_is_a(each, outer) for each in _below(wanted))


def _is_closed(cls: type) -> bool:
    """Whether no class inherits from this one and from another that it knows nothing of."""
    return "__final__" in vars(cls) or (cls.__module__ == "builtins" and not issubclass(cls, BaseException))


def _below(cls: type) -> Iterator[type]:
    subclasses: list[type] = type.__subclasses__(cls)
    for each in subclasses:
        yield each
        yield from _below(each)


def _is_a(cls: type, wanted: type) -> bool:
    if _is_protocol(wanted):  # attributes that are data may be set when an instance is made
        methods = {name for name in _members(wanted) if callable(getattr(wanted, name, None))}
        return _is_protocol(cls) or _is_dynamic(cls) or all(_has(cls, name) for name in methods)
    try:
        return issubclass(cls, wanted)
    except TypeError:
        return True


def _is_protocol(cls: type) -> bool:
    return getattr(cls, "_is_protocol", False)


def _is_dynamic(cls: type) -> bool:
    """Whether an instance may have any attribute, whatever its class says."""
    return issubclass(cls, type | types.ModuleType | types.SimpleNamespace) or _has(cls, "__getattr__")


def _members(protocol: type) -> set[str]:
    members: set[str] = typing._get_protocol_attrs(protocol)  # type: ignore[attr-defined]
    return members


def _has(cls: type, name: str) -> bool:
    """Whether a class has an attribute of its own, not by its metaclass, and not None as `__hash__` may be."""
    return next((vars(each)[name] for each in cls.__mro__ if name in vars(each)), None) is not None


def _arguments_as(annotation: Any, wanted: type) -> tuple[Any, ...]:
    """What an annotation says of the type variables of a class above its own; nothing where that is open."""
    cls, arguments = _class(annotation), get_args(annotation)
    if cls is wanted or cls is None:
        return arguments
    if cls.__module__ in _CONTAINERS:
        return _contained(cls, arguments, wanted) if wanted.__module__ in _CONTAINERS else ()
    if wanted is tuple and (fields := fields_of_tuple(annotation)):
        return tuple(fields.values())
    for base in vars(cls).get("__orig_bases__", cls.__bases__):
        above = _class(base)
        if above is not None and _is_a(above, wanted) and not _is_protocol(above):
            return _arguments_as(substituted(base, cls, arguments), wanted)
    return ()


def _contained(cls: type, arguments: tuple[Any, ...], wanted: type) -> tuple[Any, ...]:
    """What a built-in container is given, seen as one of its interfaces: keys and values, or items."""
    if cls in _ITEMS:
        return _ITEMS[cls]
    if cls is tuple and arguments:
        return _items_of_tuple(arguments)
    if issubclass(wanted, collections.abc.Mapping):
        return arguments
    return () if issubclass(cls, collections.abc.ItemsView) else arguments[:1]


def _arguments_fit(cls: type, have: tuple[Any, ...], want: tuple[Any, ...]) -> bool:
    if not have or not want:
        return True
    if cls is _CALLABLE:
        return _call_fits(have, want)
    if cls is tuple and is_variable((*have, *want)):
        return _fits(_items_of_tuple(have)[0], _items_of_tuple(want)[0])
    return all(map(_fits, have, want)) if len(have) == len(want) else cls is not tuple


def _call_fits(have: tuple[Any, ...], want: tuple[Any, ...]) -> bool:
    """Whether what takes and returns one thing can be called as what takes and returns another."""
    takes, given = have[0], want[0]
    if isinstance(takes, list) and isinstance(given, list) and not is_variable((*takes, *given)):
        return len(takes) == len(given) and all(map(_fits, given, takes)) and _fits(have[-1], want[-1])
    return _fits(have[-1], want[-1])


def _accepts(value: Any, annotation: Any) -> bool:
    if isinstance(annotation, NewType):
        return accepts(value, bare(annotation))
    if get_origin(annotation) is Literal:
        return any(type(value) is type(each) and value == each for each in get_args(annotation))
    keys = keys_of_dict(annotation)
    if keys is not None:
        present = isinstance(value, dict) and all(name in value or not is_required(keys[name]) for name in keys)
        return present and all(accepts(value[name], keys[name]) for name in keys if name in value)
    wanted = _class(annotation)
    if wanted is None:
        return True
    if _is_protocol(wanted):
        visible = all(_has(type(value), name) or hasattr(value, name) for name in _members(wanted))
        return visible and _is_a(type(value), wanted)
    try:
        if not isinstance(value, (wanted, *_WIDER.get(wanted, ()))):
            return False
    except TypeError:
        return True
    return _holds(value, annotation, wanted, get_args(annotation))


def _holds(value: Any, annotation: Any, wanted: type, arguments: tuple[Any, ...]) -> bool:
    """Whether what is inside a value of the right class is as the annotation says."""
    if wanted is tuple and not arguments and annotation == tuple[()]:
        return not value
    if not arguments:
        return True
    if type(value) is not wanted and issubclass(type(value), wanted) and not fits(type(value), annotation):
        return False
    if wanted is type:
        classes: list[type | None] = [_class(each) for each in _alternatives(arguments[0])]
        return any(cls is None or _is_a(value, cls) for cls in classes)
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return _holds_numbers(value, *arguments)
    if isinstance(value, dict) and len(arguments) == 2:
        sample = [part for pair in islice(value.items(), SAMPLE) for part in pair]
        return all(map(accepts, sample, cycle(arguments)))
    if isinstance(value, list | tuple | set | frozenset | collections.deque | dict):
        if wanted is tuple and not is_variable(arguments) and len(value) != len(arguments):
            return False
        sample = list(islice(value, SAMPLE))
        return all(map(accepts, sample, member_annotations(annotation, list, sample)))
    return True


def _holds_numbers(array: Any, shape: Any, dtype: Any = None) -> bool:
    """Whether an array has the dimensions and the type of numbers that `ndarray[shape, dtype[number]]` says."""
    number = get_args(bare(dtype))
    return accepts(array.shape, shape) and (not number or fits(array.dtype.type, number[0]))


def _class(annotation: Any) -> type | None:
    """The class behind an annotation, or None where there is none."""
    origin = get_origin(annotation) or annotation
    if origin in (Any, object, inspect.Parameter.empty, typing.Generic, typing.Protocol):
        return None
    return dict if is_typed_dict(origin) else origin if isinstance(origin, type) else None
