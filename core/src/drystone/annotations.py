"""What a function's annotations promise: its outputs, and whether a value or another annotation fits."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

import attrs

from drystone.artifacts import Artifact
from drystone.errors import PipelineDefinitionError

RETURN = "return"


@attrs.frozen
class Output:
    """One declared output of a step.

    Attributes:
        name: `"output"` for the only one without a name; else from its artifact, field or position.
        annotation: What its value must be; `Any` where nothing is said.
        artifact: How it is kept.
    """

    name: str
    annotation: Any
    artifact: Artifact


def resolved_annotations(function: Callable[..., Any], namespace: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The annotations of a function, with extras, looked up where it is defined.

    Args:
        function: May use `from __future__ import annotations`.
        namespace: Local names of the scope it is defined in.

    Raises:
        PipelineDefinitionError: An annotation names something that does not exist at run time.
    """
    annotations = inspect.get_annotations(function)
    if not any(isinstance(each, str) for each in annotations.values()):
        return annotations
    closure = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
    try:
        return typing.get_type_hints(function, localns={**(namespace or {}), **closure}, include_extras=True)
    except NameError as exc:
        raise PipelineDefinitionError(
            f"The annotations of {function.__qualname__} name {exc.name!r}, which does not exist when the pipeline is "
            "built. Import it at run time (not under TYPE_CHECKING) or define it at module level."
        ) from exc
    except (AttributeError, SyntaxError, TypeError) as exc:
        raise PipelineDefinitionError(
            f"The annotations of {function.__qualname__} cannot be evaluated ({type(exc).__name__}: {exc})."
        ) from exc


def declared_outputs(annotations: Mapping[str, Any]) -> tuple[Output, ...]:
    """The outputs that a return annotation declares.

    None without outputs for `-> None`; one for each member of a fixed-length tuple or named tuple; otherwise one.
    """
    if RETURN not in annotations:
        return (Output("output", Any, Artifact()),)
    returned = annotations[RETURN]
    if returned is None or returned is type(None):
        return ()
    members = tuple_members(returned)
    if members is None:
        return (_output("output", returned),)
    return tuple(_output(name, annotation) for name, annotation in members)


def tuple_members(annotation: Any) -> list[tuple[str, Any]] | None:
    """Names and annotations of a fixed-length tuple's members, or None for anything else."""
    if isinstance(annotation, type) and issubclass(annotation, tuple) and hasattr(annotation, "_fields"):
        hints = typing.get_type_hints(annotation, include_extras=True)
        return [(name, hints.get(name, Any)) for name in annotation._fields]
    if get_origin(annotation) is tuple and Ellipsis not in get_args(annotation) and get_args(annotation):
        return [(f"output_{index}", each) for index, each in enumerate(get_args(annotation))]
    return None


def _output(name: str, annotation: Any) -> Output:
    if get_origin(annotation) is not Annotated:
        return Output(name, annotation, Artifact())
    inner, *extras = get_args(annotation)
    for extra in extras:
        if isinstance(extra, str):
            extra = Artifact(extra)
        if isinstance(extra, Artifact):
            return Output(extra.name if extra.name and "{" not in extra.name else name, inner, extra)
    return Output(name, inner, Artifact())


def bare(annotation: Any) -> Any:
    """An annotation without `Annotated`, type aliases and the names of type variables."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__") and type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif isinstance(annotation, typing.TypeVar):
            annotation = annotation.__bound__ or Any
        else:
            return type(None) if annotation is None else annotation


def described(annotation: Any) -> str:
    """How a message shows an annotation: `int`, `list[str]`, `pandas.DataFrame`."""
    annotation = bare(annotation)
    if isinstance(annotation, type) and not get_args(annotation):
        module = annotation.__module__
        return annotation.__qualname__ if module == "builtins" else f"{module}.{annotation.__qualname__}"
    return repr(annotation).replace("typing.", "")


def fits(source: Any, target: Any) -> bool:
    """Whether every value of one annotation may go where another is expected.

    Gives the benefit of the doubt: only what is surely wrong is False.
    """
    source, target = bare(source), bare(target)
    if source is target or _anything(source) or _anything(target):
        return True
    if _is_union(source):
        return any(fits(each, target) for each in get_args(source))
    if _is_union(target):
        return any(fits(source, each) for each in get_args(target))
    if get_origin(source) is typing.Literal:
        return any(accepts(each, target) for each in get_args(source))
    if get_origin(target) is typing.Literal:
        return any(fits(type(each), source) for each in get_args(target))
    outer, wanted = _class(source), _class(target)
    if outer is None or wanted is None:
        return True
    return _subclass(outer, wanted) and _arguments_fit(source, target, outer, wanted)


def accepts(value: Any, annotation: Any) -> bool:
    """Whether a value is what an annotation says, as far as that can be seen without walking large containers."""
    annotation = bare(annotation)
    if _anything(annotation):
        return True
    if _is_union(annotation):
        return any(accepts(value, each) for each in get_args(annotation))
    if get_origin(annotation) is typing.Literal:
        return any(type(value) is type(each) and value == each for each in get_args(annotation))
    wanted = _class(annotation)
    if wanted is None:
        return True
    if not _instance(value, wanted):
        return False
    arguments = get_args(annotation)
    if wanted is tuple and arguments and Ellipsis not in arguments and len(value) != len(arguments):
        return False
    return all(accepts(item, argument) for item, argument in _sampled(value, arguments))


def member_annotations(annotation: Any, container: type, count: int) -> list[Any]:
    """What each of `count` items of a list, a tuple or of a dict's values must be; `Any` where that is open."""
    annotation = bare(annotation)
    arguments = get_args(annotation)
    if _class(annotation) is not container or not arguments:
        return [Any] * count
    if container is not tuple:
        return [arguments[-1]] * count
    if Ellipsis in arguments:
        return [arguments[0]] * count
    return list(arguments) if len(arguments) == count else [Any] * count


SAMPLE = 100
"""How many items of a container `accepts` looks at."""


def _sampled(value: Any, arguments: tuple[Any, ...]) -> Iterator[tuple[Any, Any]]:
    if not arguments:
        return
    if isinstance(value, tuple):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            yield from ((item, arguments[0]) for item in value[:SAMPLE])
        else:
            yield from zip(value, arguments, strict=False)
    elif isinstance(value, dict) and len(arguments) == 2:
        for _, (key, item) in zip(range(SAMPLE), value.items(), strict=False):
            yield key, arguments[0]
            yield item, arguments[1]
    elif isinstance(value, list | set | frozenset) and len(arguments) == 1:
        yield from ((item, arguments[0]) for _, item in zip(range(SAMPLE), value, strict=False))


def _anything(annotation: Any) -> bool:
    return annotation is Any or annotation is object or annotation is inspect.Parameter.empty


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (typing.Union, types.UnionType)


def _class(annotation: Any) -> type | None:
    """The class behind an annotation that isinstance can be asked about, or None where there is none."""
    origin = get_origin(annotation) or annotation
    if not isinstance(origin, type) or getattr(origin, "_is_protocol", False):
        return None
    if typing.is_typeddict(origin):
        return dict
    return origin


_CALLABLE: Any = collections.abc.Callable

_WIDER: dict[type, tuple[type, ...]] = {float: (int,), complex: (int, float), bytes: (bytearray, memoryview)}
"""What the type system lets stand for something it is no subclass of."""


def _subclass(outer: type, wanted: type) -> bool:
    try:
        return issubclass(outer, wanted) or issubclass(outer, _WIDER.get(wanted, ())) or issubclass(wanted, outer)
    except TypeError:
        return True


def _instance(value: Any, wanted: type) -> bool:
    try:
        return isinstance(value, (wanted, *_WIDER.get(wanted, ())))
    except TypeError:
        return True


def _arguments_fit(source: Any, target: Any, outer: type, wanted: type) -> bool:
    have, want = get_args(source), get_args(target)
    if not have or not want or wanted is _CALLABLE:
        return True
    if outer is tuple and wanted is tuple:
        return _tuples_fit(have, want)
    return len(have) != len(want) or all(fits(one, other) for one, other in zip(have, want, strict=True))


def _tuples_fit(have: tuple[Any, ...], want: tuple[Any, ...]) -> bool:
    if Ellipsis in have or Ellipsis in want:
        return all(fits(one, other) for one in have for other in want if Ellipsis not in (one, other))
    return len(have) == len(want) and all(fits(one, other) for one, other in zip(have, want, strict=True))
