"""Decorated functions: the parameters they take and the outputs that they promise."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Generic, ParamSpec, TypeVar, cast, get_args, get_origin

import attrs

from drystone.annotations import (
    abbreviated,
    described,
    fields_of_tuple,
    is_required,
    is_variable,
    keys_of_dict,
    resolved_annotations,
    without_alias,
)
from drystone.declarations import Artifact, Columns, checked_name
from drystone.errors import OutputError, PipelineDefinitionError, suggestion
from drystone.fitting import accepts

P = ParamSpec("P")
R = TypeVar("R")

RETURN = "return"


@attrs.frozen
class Output:
    """One declared output of a step.

    Attributes:
        name: `"output"` for the only one without a name; else from its artifact, field, key or position.
        annotation: What its value must be; `Any` where nothing is said.
        artifact: How it is kept.
    """

    name: str
    annotation: Any
    artifact: Artifact


def declared_outputs(annotations: Mapping[str, Any]) -> tuple[Output, ...]:
    """The outputs that a return annotation declares.

    None without outputs for `-> None`; one for each member of a fixed-length tuple, a named tuple or a `TypedDict`;
    otherwise one.

    Raises:
        PipelineDefinitionError: An artifact is declared where it names no output, or a key may be missing.
    """
    returned = annotations.get(RETURN, Any)
    if returned is type(None):
        return ()
    members = declared_members(returned) or {"output": returned}
    problems = [problem for name, annotation in members.items() for problem in _misdeclared(name, annotation)]
    if problems:
        raise PipelineDefinitionError(*problems)
    return tuple(_output(name, annotation) for name, annotation in members.items())


def declared_members(returned: Any) -> dict[str, Any]:
    """What a fixed-length tuple, a named tuple or a `TypedDict` is annotated to hold, by name; else nothing."""
    returned = without_alias(returned)
    named = fields_of_tuple(returned) or keys_of_dict(returned)
    if named:
        return named
    members = get_args(returned) if get_origin(returned) is tuple else ()
    return {} if is_variable(members) else {f"output_{index}": each for index, each in enumerate(members)}


def _misdeclared(name: str, annotation: Any) -> Iterator[str]:
    if not is_required(annotation):
        yield (
            f"the key {name!r} need not be there, but every output of a step is. Make it required, with None as one of "
            'its values, or keep the dict as one output: Annotated[…, Artifact("name")].'
        )
    inner, _ = _told(annotation)
    for artifact in _declarations(inner):
        yield (
            f"the artifact {artifact.name!r} is declared inside {name!r}, where it names no output. Put it around the "
            "whole: Annotated[int | None, Artifact(…)] rather than Annotated[int, Artifact(…)] | None."
        )


def _told(annotation: Any) -> tuple[Any, list[Any]]:
    """An annotation without its extras, and those that name or declare an artifact."""
    annotation = without_alias(annotation)
    if get_origin(annotation) is not Annotated:
        return annotation, []
    inner, *extras = get_args(annotation)
    return inner, [extra for extra in extras if isinstance(extra, str | Artifact)]


def _declarations(annotation: Any) -> Iterator[Artifact]:
    """The artifacts that are declared somewhere inside an annotation."""
    inner, told = _told(annotation)
    yield from (each for each in told if isinstance(each, Artifact))
    for argument in get_args(inner):
        yield from _declarations(argument)


def _output(name: str, annotation: Any) -> Output:
    inner, told = _told(annotation)
    artifact = told[0] if told else Artifact()
    artifact = Artifact(artifact) if isinstance(artifact, str) else artifact
    return Output(artifact.name if artifact.name and "{" not in artifact.name else name, inner, artifact)


def _shown(value: Any, annotation: Any) -> str:
    """The value itself where its class alone does not say what is wrong with it."""
    return f" {abbreviated(value)}" if get_args(annotation) else ""


class Outputs(dict[str, Any]):
    """What stands for the outputs of a step that returns a `TypedDict`, in the body of a pipeline."""

    def __init__(self, label: str, outputs: Iterable[tuple[str, Any]]) -> None:
        super().__init__(outputs)
        self.label = label

    def __missing__(self, name: object) -> Any:
        raise PipelineDefinitionError(
            f"{self.label} has no output {name!r}.{suggestion(str(name), self, 'Its outputs')}"
        )


def _check_name(name: str, kind: str) -> None:
    try:
        checked_name(name, f"a {kind.lower()}")
    except ValueError as exc:
        raise PipelineDefinitionError(str(exc)) from None


class Declared(Generic[P, R]):
    """A decorated function with a name and options: what steps and pipelines have in common."""

    kind: ClassVar[str]
    mismatch: ClassVar[type[PipelineDefinitionError]] = PipelineDefinitionError

    def __init__(self, function: Callable[P, R], name: str, options: Any) -> None:
        _check_name(name, self.kind)
        functools.update_wrapper(cast(Any, self), function)  # callable in each subclass
        self.fn = function
        self.name = name
        self.options = options
        self.label: str = f"{self.kind} {name!r}"
        problems = [
            f"{self.label} has no parameter {each!r} to ignore.{self._known_parameters(each)}"
            for each in getattr(options, "ignore_inputs", ())
            if each not in self.signature.parameters
        ]
        if problems:
            raise PipelineDefinitionError(*problems)

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

    def _known_parameters(self, name: str) -> str:
        return suggestion(name, self.signature.parameters, "Its parameters")

    @functools.cached_property
    def outputs(self) -> tuple[Output, ...]:
        """What the return annotation declares."""
        try:
            return declared_outputs(self.annotations)
        except PipelineDefinitionError as exc:
            raise PipelineDefinitionError(*(f"{self.label}: {problem}" for problem in exc.problems)) from exc

    @functools.cached_property
    def columns(self) -> dict[str, list[Any]]:
        """Which columns of their frames parameters are annotated to get; those that get them all are left out."""
        extras = {name: getattr(without_alias(each), "__metadata__", ()) for name, each in self.annotations.items()}
        declared = {name: [each for each in found if isinstance(each, Columns)] for name, found in extras.items()}
        return {name: [*found[0].labels] for name, found in declared.items() if found}

    @functools.cached_property
    def members(self) -> tuple[str, ...]:
        """The fields, keys or positions at which it returns its outputs; none if it returns just one."""
        return tuple(declared_members(self.annotations.get(RETURN)))

    @functools.cached_property
    def _container(self) -> Any:
        returned = without_alias(self.annotations[RETURN])
        return dict if keys_of_dict(returned) else get_origin(returned) or returned

    def put_together(self, values: list[Any]) -> Any:
        """One value for each output, as the function would return them."""
        if not self.members:
            return values[0]
        if self._container is dict:
            return Outputs(self.label, zip(self.members, values, strict=True))
        return self._container._make(values) if hasattr(self._container, "_make") else tuple(values)

    def taken_apart(self, returned: Any) -> list[Any]:
        """The values of the outputs in what the function returned, each of the type that was promised.

        Raises:
            OutputError: Lists what is wrong.
        """
        label = self.label[0].lower() + self.label[1:]
        if not self.outputs and returned is not None:
            raise OutputError(
                f"{self.label} is annotated `-> None`, but returned {described(type(returned))}. Annotate what it "
                "returns, or return nothing."
            )
        values = self._values(returned) if self.members else [returned] * len(self.outputs)
        wrong = [
            f"Output {output.name!r} of {label} is annotated {described(output.annotation)}, but is "
            f"{described(type(value))}{_shown(value, output.annotation)}."
            for output, value in zip(self.outputs, values, strict=True)
            if not accepts(value, output.annotation)
        ]
        if wrong:
            raise OutputError(" ".join(wrong) + " Nothing was stored. Correct the annotation or what the step returns.")
        return values

    def _values(self, returned: Any) -> list[Any]:
        names = self.members
        if self._container is dict and isinstance(returned, Mapping):
            wrong = [f"no {name!r}" for name in names if name not in returned]
            wrong += [f"{name!r}, which is not one" for name in returned if name not in names]
            if not wrong:
                return [returned[name] for name in names]
            found = f"a dict with {' and '.join(wrong)}"
        else:
            fields = getattr(returned, "_fields", names) if hasattr(self._container, "_make") else names
            in_order = isinstance(returned, list | tuple) and self._container is not dict and fields == names
            if in_order and len(returned) == len(names):
                return list(returned)
            found = abbreviated(returned)
        raise OutputError(
            f"{self.label} is annotated with {len(names)} outputs ({', '.join(names)}), but returned {found}. Nothing "
            "was stored."
        )

    def bound_arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by parameter, defaults included; every unknown, missing and surplus one is told."""
        parameters = self.signature.parameters
        positional = [name for name, each in parameters.items() if each.kind is not each.KEYWORD_ONLY]
        problems = [
            f"{self.label} has no parameter {name!r}.{self._known_parameters(name)}"
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
