"""Decorated functions and what their annotations promise: outputs, and whether a value or another annotation fits."""

from __future__ import annotations

import collections.abc
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from itertools import cycle, islice
from typing import Annotated, Any, ClassVar, Generic, ParamSpec, TypeVar, cast, get_args, get_origin

import attrs

from drystone.declarations import Artifact
from drystone.errors import PipelineDefinitionError, suggestion

P = ParamSpec("P")
R = TypeVar("R")

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


def declared_outputs(annotations: Mapping[str, Any]) -> tuple[Output, ...]:
    """The outputs that a return annotation declares.

    None without outputs for `-> None`; one for each member of a fixed-length tuple or named tuple; otherwise one.
    """
    returned = annotations.get(RETURN, Any)
    if returned is type(None):
        return ()
    members = declared_members(returned) or {"output": returned}
    return tuple(_output(name, annotation) for name, annotation in members.items())


def declared_members(returned: Any) -> dict[str, Any]:
    """What a fixed-length tuple or a named tuple is annotated to hold, by name; nothing for any other annotation."""
    returned = _without_alias(returned)
    if isinstance(returned, type) and issubclass(returned, tuple) and hasattr(returned, "_fields"):
        hints = _hints(returned, {})
        return {name: hints.get(name, Any) for name in returned._fields}
    members = get_args(returned) if get_origin(returned) is tuple else ()
    return {} if Ellipsis in members else {f"output_{index}": each for index, each in enumerate(members)}


def _output(name: str, annotation: Any) -> Output:
    annotation = _without_alias(annotation)
    inner, *extras = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    for extra in extras:
        artifact = Artifact(extra) if isinstance(extra, str) else extra
        if isinstance(artifact, Artifact):
            return Output(artifact.name if artifact.name and "{" not in artifact.name else name, inner, artifact)
    return Output(name, inner, Artifact())


def _without_alias(annotation: Any) -> Any:
    while type(annotation).__name__ == "TypeAliasType":
        annotation = annotation.__value__
    return annotation


def bare(annotation: Any) -> Any:
    """An annotation without `Annotated`, type aliases and the names of type variables."""
    while True:
        annotation = _without_alias(annotation)
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
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


def abbreviated(value: Any) -> str:
    """How a message shows a value: shortened, or by its class alone where it cannot be shown."""
    try:
        return f"{value!r:.200}"
    except Exception:  # the class's own, or of an integer with more digits than Python prints
        return f"a value of {described(type(value))}"


def fits(source: Any, target: Any) -> bool:
    """Whether every value of one annotation may go where another is expected.

    Gives the benefit of the doubt: only what is surely wrong is False.
    """
    return any(_fits(one, other) for one in _alternatives(source) for other in _alternatives(target))


def accepts(value: Any, annotation: Any) -> bool:
    """Whether a value is what an annotation says, as far as that can be seen without walking large containers."""
    return any(_accepts(value, each) for each in _alternatives(annotation))


def member_annotations(annotation: Any, container: type, count: int) -> list[Any]:
    """What each of `count` items of a list, a tuple or of a dict's values must be; `Any` where that is open."""
    annotation = bare(annotation)
    arguments, wanted = get_args(annotation), _class(annotation)
    if wanted is tuple and arguments[1:] != (Ellipsis,):
        return list(arguments) if len(arguments) == count else [Any] * count
    if wanted is tuple or (wanted is not None and len(arguments) == (2 if container is dict else 1)):
        return [arguments[0 if wanted is tuple else -1]] * count
    return [Any] * count


def element_annotation(annotation: Any) -> Any:
    """What the members of a list of this annotation are: `Any` where that is open, None where it is surely no list."""
    inside = [_inside(each) for each in _alternatives(annotation)]
    found = [each for each in inside if each is not None]
    return typing.Union[tuple(found)] if found else None  # noqa: UP007 - of as many as there are


def _inside(annotation: Any) -> Any:
    outer, arguments = _class(annotation), get_args(annotation)
    if outer is None:
        return Any
    if not issubclass(outer, tuple) and not issubclass(list, outer):
        return None
    members = [each for each in arguments if each is not Ellipsis]
    return typing.Union[tuple(members)] if members else Any  # noqa: UP007


SAMPLE = 100
"""How many items of a container `accepts` looks at."""

_CALLABLE: Any = collections.abc.Callable

_WIDER: dict[type, tuple[type, ...]] = {float: (int,), complex: (int, float), bytes: (bytearray, memoryview)}
"""What the type system lets stand for something it is no subclass of."""


def _alternatives(annotation: Any) -> list[Any]:
    annotation = bare(annotation)
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return [each for member in get_args(annotation) for each in _alternatives(member)]
    return [annotation]


def _fits(source: Any, target: Any) -> bool:
    if get_origin(source) is typing.Literal:
        return any(_accepts(each, target) for each in get_args(source))
    if get_origin(target) is typing.Literal:
        return any(fits(type(each), source) for each in get_args(target))
    outer, wanted = _class(source), _class(target)
    if outer is None or wanted is None:
        return True
    try:
        related = issubclass(outer, (wanted, *_WIDER.get(wanted, ()))) or issubclass(wanted, outer)
    except TypeError:
        return True
    have, want, tuples = get_args(source), get_args(target), outer is wanted is tuple
    if not related or wanted is _CALLABLE or not have or not want:
        return related
    if tuples and Ellipsis in (*have, *want):
        return all(fits(one, other) for one in have for other in want if Ellipsis not in (one, other))
    return all(map(fits, have, want)) if len(have) == len(want) else not tuples


def _accepts(value: Any, annotation: Any) -> bool:
    if get_origin(annotation) is typing.Literal:
        return any(type(value) is type(each) and value == each for each in get_args(annotation))
    wanted, arguments = _class(annotation), get_args(annotation)
    if wanted is None:
        return True
    try:
        if not isinstance(value, (wanted, *_WIDER.get(wanted, ()))):
            return False
    except TypeError:
        return True
    if isinstance(value, dict) and len(arguments) == 2:
        sample = [part for pair in islice(value.items(), SAMPLE) for part in pair]
        return all(map(accepts, sample, cycle(arguments)))
    if isinstance(value, list | tuple | set | frozenset):
        if wanted is tuple and arguments and Ellipsis not in arguments and len(value) != len(arguments):
            return False
        sample = list(islice(value, SAMPLE))
        return all(map(accepts, sample, member_annotations(annotation, type(value), len(sample))))
    return True


def _class(annotation: Any) -> type | None:
    """The class behind an annotation that isinstance can be asked about, or None where there is none."""
    origin = get_origin(annotation) or annotation
    open_ended = origin in (Any, object, inspect.Parameter.empty) or getattr(origin, "_is_protocol", False)
    if open_ended or not isinstance(origin, type):
        return None
    return dict if typing.is_typeddict(origin) else origin


class Declared(Generic[P, R]):
    """A decorated function with a name and options: what steps and pipelines have in common."""

    kind: ClassVar[str]
    mismatch: ClassVar[type[PipelineDefinitionError]] = PipelineDefinitionError

    def __init__(self, function: Callable[P, R], name: str, options: Any) -> None:
        functools.update_wrapper(cast(Any, self), function)  # callable in each subclass
        self.fn = function
        self.name = name
        self.options = options
        self.label: str = f"{self.kind} {name!r}"

    def __repr__(self) -> str:
        return f"<{self.kind.lower()} {self.name!r} of {self.fn.__module__}>"

    @functools.cached_property
    def annotations(self) -> dict[str, Any]:
        """The function's annotations, resolved on first use."""
        return resolved_annotations(self.fn)

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The parameters, of a decorated function its own."""
        return inspect.signature(self.fn)

    @functools.cached_property
    def outputs(self) -> tuple[Output, ...]:
        """What the return annotation declares."""
        return declared_outputs(self.annotations)

    @functools.cached_property
    def returns_tuple(self) -> bool:
        """Whether it returns its outputs in a tuple, be it of one."""
        return bool(declared_members(self.annotations.get(RETURN)))

    def returned(self, values: list[Any]) -> Any:
        """One value for each output, as the function would return them."""
        if not self.returns_tuple:
            return values[0]
        made = _without_alias(self.annotations[RETURN])
        return made._make(values) if hasattr(made, "_make") else tuple(values)

    def bound_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by parameter, defaults included; every unknown, missing and surplus one is told."""
        parameters = self.signature.parameters
        positional = [name for name, each in parameters.items() if each.kind is not each.KEYWORD_ONLY]
        problems = [
            f"{self.label} has no parameter {name!r}.{suggestion(name, parameters, 'Its parameters')}"
            for name in kwargs
            if name not in parameters
        ]
        if len(args) > len(positional):
            problems.append(f"{self.label} takes {len(positional)} positional arguments, {len(args)} were given.")
        placed = dict(zip(positional, args, strict=False))
        problems += [f"{self.label} got {name!r} twice." for name in kwargs if name in placed]
        defaults = {name: each.default for name, each in parameters.items() if each.default is not each.empty}
        given = {**defaults, **placed, **kwargs}
        problems += [f"{self.label} needs {name!r}, which has no default." for name in parameters if name not in given]
        if problems:
            raise self.mismatch(*problems)
        return {name: given[name] for name in parameters}
