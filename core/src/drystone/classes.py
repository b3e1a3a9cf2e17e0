"""What classes are made of, once decorators and metaclasses are done with them."""

from __future__ import annotations

import types
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

from drystone.digests import frame
from drystone.origins import origin_of
from drystone.states import annotation_text


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ACCIDENTAL = _words(
    "__dict__ __weakref__ __doc__ __module__ __qualname__ __firstlineno__ __static_attributes__ "
    "__annotations__ __annotate__ __annotate_func__ __annotations_cache__ __abstractmethods__ _abc_impl "
    "__dataclass_fields__ __dataclass_params__ __attrs_attrs__ __attrs_props__ __attrs_own_setattr__ "
    "__match_args__ __parameters__ __slots__ __subclasshook__ __signature__ __classcell__"
)
"""Attributes of a class that say nothing of what it does, or say again what its fields and annotations do."""

_ENUM = _words(
    "_member_map_ _member_names_ _value2member_map_ _member_type_ _value_repr_ _unhashable_values_ "
    "_hashable_values_ _unhashable_values_map_ _use_args_ _new_member_ _generate_next_value_ _singles_mask_ "
    "_all_bits_ _inverted_ _flag_mask_ _sort_order_"
)
_TUPLE = _words("_make _replace _asdict __new__ __repr__ __getnewargs__ __replace__")
_FIELD = _words(
    "default default_factory init repr hash compare kw_only metadata validator converter eq order alias on_setattr"
)
_Pair = namedtuple("_Pair", ["first"])
_MACHINERY = (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType, type(_Pair.first))


def class_attributes(cls: type) -> Iterator[tuple[str, Any]]:
    """What was written in a class: its attributes, the members of an enum, the fields of a dataclass or attrs class."""
    members = getattr(cls, "_member_map_", {})
    skipped = _ACCIDENTAL | members.keys()
    skipped |= _ENUM if hasattr(cls, "_member_map_") else frozenset()
    skipped |= _TUPLE if hasattr(cls, "_fields") else frozenset()
    for name, value in sorted(vars(cls).items()):
        if name not in skipped and not isinstance(value, _MACHINERY) and not _is_generated(value, cls):
            yield name, value
    for order, (name, member) in enumerate(members.items()):
        yield f"member {order} {name}", member._value_
    yield from _fields(cls)


def _is_generated(value: Any, cls: type) -> bool:
    """Whether a method was written by dataclasses, attrs or the like: the fields say what is in it."""
    made = hasattr(cls, "__dataclass_fields__") or hasattr(cls, "__attrs_attrs__") or hasattr(cls, "_fields")
    if not made or not isinstance(value, types.FunctionType):
        return False
    return value.__code__.co_filename.startswith("<") or not origin_of(value.__globals__.get("__name__", "")).project


def _fields(cls: type) -> Iterator[tuple[str, Any]]:
    declared = {**vars(cls).get("__dataclass_fields__", {})}
    declared |= {field.name: field for field in vars(cls).get("__attrs_attrs__", ())}
    for order, (name, field) in enumerate(declared.items()):
        said = {each: getattr(field, each) for each in sorted(_FIELD) if hasattr(field, each)}
        yield f"field {order} {name}", said | {"type": annotation_text(field.type)}
    parameters = vars(cls).get("__dataclass_params__")
    if parameters is not None:
        yield "dataclass", repr(parameters)


def class_annotations(cls: type) -> list[bytes]:
    """The annotations of a class, as text."""
    written = vars(cls).get("__annotations__", {})
    return [frame(name.encode(), annotation_text(each).encode()) for name, each in sorted(written.items())]
