"""Annotations: where they are found, what they stand for and how they are shown."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, NewType, TypeVar, Union, get_args, get_origin

from drystone.errors import PipelineDefinitionError


def resolved_annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, with extras, looked up where it is defined.

    Raises:
        PipelineDefinitionError: An annotation names something that does not exist at run time.
    """
    inner: Any = inspect.unwrap(function)
    closure = inspect.getclosurevars(inner).nonlocals if inner.__closure__ else {}
    return _hints(function, dict(closure))


def _hints(owner: Any, local: dict[str, Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(owner, localns=local, include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as exc:
        problem = f"cannot be evaluated ({type(exc).__name__}: {exc})."
        if isinstance(exc, NameError):
            problem = (
                f"name {exc.name!r}, which does not exist when the pipeline is built. Import it at run time (not under "
                "TYPE_CHECKING) or define it at module level."
            )
        raise PipelineDefinitionError(f"The annotations of {owner.__qualname__} {problem}") from exc


def without_alias(annotation: Any) -> Any:
    """What an alias made by `type X = …` stands for."""
    while True:
        alias = get_origin(annotation) or annotation
        if type(alias).__name__ != "TypeAliasType":
            return annotation
        annotation = substituted(alias.__value__, alias, get_args(annotation))


def substituted(annotation: Any, generic: Any, arguments: tuple[Any, ...]) -> Any:
    """An annotation, with the arguments of a generic class or alias in the place of its type variables."""
    known = getattr(generic, "__type_params__", ()) or getattr(generic, "__parameters__", ())
    values = dict(zip(known, arguments, strict=False))
    if isinstance(annotation, TypeVar):
        return values.get(annotation, annotation)
    open_ones = () if isinstance(annotation, type) else getattr(annotation, "__parameters__", ())
    if not values or not all(isinstance(each, TypeVar) for each in open_ones):
        return annotation
    return annotation[tuple(values.get(each, each) for each in open_ones)] if open_ones else annotation


def fields_of_tuple(annotation: Any) -> dict[str, Any] | None:
    """What the fields of a named tuple are annotated with, None for any other annotation."""
    cls = get_origin(annotation) or annotation
    if not (isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")):
        return None
    hints = _resolved(cls)
    return {name: substituted(hints.get(name, Any), cls, get_args(annotation)) for name in cls._fields}


def keys_of_dict(annotation: Any) -> dict[str, Any] | None:
    """What the keys of a `TypedDict` are annotated with, None for any other annotation.

    A key that need not be there is annotated `NotRequired[…]`, in whatever way the class says so.
    """
    cls = get_origin(annotation) or annotation
    if not is_typed_dict(cls):
        return None
    hints = {
        name: _qualified(substituted(hint, cls, get_args(annotation)), name in cls.__required_keys__)
        for name, hint in _resolved(cls).items()
    }
    return {name: hint if required else typing.NotRequired[hint] for name, (hint, required) in hints.items()}


def is_typed_dict(cls: Any) -> bool:
    """Whether a class was made by `TypedDict`, that of `typing` or of `typing_extensions`."""
    return isinstance(cls, type) and issubclass(cls, dict) and hasattr(cls, "__required_keys__")


@functools.lru_cache(maxsize=1024)
def _resolved(cls: type) -> dict[str, Any]:
    return _hints(cls, {})


_QUALIFIERS = ("Required", "NotRequired", "ReadOnly")


def _qualifier(annotation: Any) -> str:
    return getattr(get_origin(annotation), "_name", "") or ""


def _qualified(hint: Any, required: bool) -> tuple[Any, bool]:
    """An annotation without its qualifiers, and whether the key that it is of must be there."""
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        inner, required = _qualified(inner, required)
        return Annotated[(inner, *extras)], required
    name = _qualifier(hint)
    if name not in _QUALIFIERS:
        return hint, required
    return _qualified(get_args(hint)[0], required if name == "ReadOnly" else name == "Required")


def is_required(annotation: Any) -> bool:
    """Whether a key that `keys_of_dict` tells must be there."""
    return _qualifier(annotation) != "NotRequired"


def bare(annotation: Any) -> Any:
    """An annotation without `Annotated`, type aliases and the names of type variables."""
    annotation = plain(annotation)
    while isinstance(annotation, NewType):
        annotation = plain(annotation.__supertype__)
    return annotation


def plain(annotation: Any) -> Any:
    """An annotation as `bare` has it, but for new types, which stay what they are called."""
    while True:
        annotation = without_alias(annotation)
        if get_origin(annotation) is Annotated or _qualifier(annotation) in _QUALIFIERS:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, TypeVar) and annotation.__constraints__:
            annotation = Union[annotation.__constraints__]  # noqa: UP007 - of as many as there are
        elif isinstance(annotation, TypeVar):
            annotation = annotation.__bound__ or Any
        else:
            return type(None) if annotation is None else annotation


def described(annotation: Any) -> str:
    """How a message shows an annotation: `int`, `list[str]`, `pandas.DataFrame`, `Metres` of a `NewType`."""
    annotation = plain(annotation)
    if isinstance(annotation, NewType):
        return annotation.__name__
    if isinstance(annotation, type) and not get_args(annotation):
        module = annotation.__module__
        return annotation.__qualname__ if module == "builtins" else f"{module}.{annotation.__qualname__}"
    return repr(annotation).replace("typing.", "")


def abbreviated(value: Any) -> str:
    """How a message shows a value: shortened, or by its class alone where it cannot be shown."""
    try:
        return f"{value!r:.200}"
    except Exception:  # the class's own, or of an integer with more digits than Python prints
        return f"a value of {described(type(value))}"


def is_variable(arguments: Iterable[Any]) -> bool:
    """Whether the arguments of a tuple leave its length open."""
    return any(each is Ellipsis or is_unpacked(each) for each in arguments)


def is_unpacked(argument: Any) -> bool:
    """Whether an argument of a tuple stands for any number of them."""
    return bool(getattr(argument, "__unpacked__", False)) or _qualifier(argument) == "Unpack"
