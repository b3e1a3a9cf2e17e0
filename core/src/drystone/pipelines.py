"""`@step` and `@pipeline`: declarations of what runs, pure data without I/O."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast, overload

import attrs

from drystone.declarations import Model, ModelReference, Stored, check_tags, imported
from drystone.errors import ParameterError, PipelineDefinitionError, TargetError, suggestion
from drystone.fitting import accepts
from drystone.functions import Declared, P, R
from drystone.graphs import Builder, Graph, building, importing, unlike
from drystone.maps import Mappable
from drystone.options import Resources as Resources
from drystone.options import Retry as Retry
from drystone.overrides import Overrides, check_overrides, merged, overridden

if TYPE_CHECKING:  # only annotations name them, so authoring need not wait for them
    from datetime import timedelta

    from drystone.runs import Plan, Replay, Run, StepRun

RUNNER = "drystone.execution:Driver"
"""What runs and plans a pipeline; imported on the first call of one, never before."""


class Runner(Protocol):
    """Runs and plans pipelines. `drystone.execution.Driver` implements it."""

    def run(self, pipeline: Pipeline[Any, Any], parameters: Mapping[str, Any]) -> Run:
        """Run a pipeline and return its record."""

    def plan(self, pipeline: Pipeline[Any, Any], parameters: Mapping[str, Any]) -> Plan:
        """Say what a run would do, without doing it."""

    def resume(self, workspace: Any, run: str) -> Run:
        """Go on with a run that ended before it was done."""

    def replay(self, workspace: Any, run: str, step: str, **how: Any) -> Replay:
        """Run a step again on its recorded inputs, and record nothing."""


def _retry(value: int | Retry | None) -> Retry | None:
    return Retry(value) if isinstance(value, int) else value


def _seconds(value: float | timedelta | None) -> float | None:
    return value if value is None or isinstance(value, int | float) else value.total_seconds()


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)


def _check_uses(instance: object, attribute: object, value: tuple[Any, ...]) -> None:
    for kind in value:
        if not (isinstance(kind, str) and kind.isidentifier()):
            raise PipelineDefinitionError(
                f'uses={kind!r}: it names kinds of component, by the keywords of a stack: uses=["feature_store"].'
            )


def _check_on(instance: object, attribute: object, value: str | None) -> None:
    if value is not None and not (isinstance(value, str) and value):
        raise PipelineDefinitionError(
            f'on={value!r}: it is the name of an orchestrator among the step_orchestrators of a stack: on="big".'
        )


StepHook = Callable[["StepRun"], object]
RunHook = Callable[["Run"], object]


@attrs.frozen(kw_only=True)
class StepOptions:
    """How a step is run and cached.

    Attributes:
        cache: False: never use a stored result. A timedelta: use one no older than that.
        cache_salt: Any text; changing it makes the step run once more.
        depends_on: Objects, modules or file globs (relative to the project root) that its result depends on.
        ignore: Objects, or their canonical names, whose code and value do not count.
        ignore_inputs: Parameters that do not count.
        retries: Further attempts after a failure.
        timeout: Seconds after which it is ended.
        on: Which of the `step_orchestrators` of the stack it runs on; on that of the stack itself by default.
        uses: Kinds of component that it takes from the stack, by `get_context()`.
    """

    cache: bool | timedelta | None = None
    cache_salt: str = ""
    depends_on: tuple[Any, ...] = attrs.field(default=(), converter=_several)
    ignore: tuple[Any, ...] = attrs.field(default=(), converter=_several)
    ignore_inputs: tuple[str, ...] = attrs.field(default=(), converter=_several)
    retries: Retry | None = attrs.field(default=None, converter=_retry)
    timeout: float | None = attrs.field(default=None, converter=_seconds)
    resources: Resources | None = None
    on: str | None = attrs.field(default=None, validator=_check_on)
    uses: tuple[str, ...] = attrs.field(default=(), converter=_several, validator=_check_uses)
    tags: Mapping[str, Any] = attrs.field(factory=dict, validator=check_tags)
    on_success: StepHook | None = None
    on_failure: StepHook | None = None


class Step(Mappable[P, R]):
    """A function that pipelines call. Outside a pipeline, calling it is the plain function call."""

    kind = "Step"
    options: StepOptions

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, or in the body of a pipeline add a node that will."""
        builder = building.get()
        if builder is None:
            return self.fn(*args, **kwargs)
        return cast(R, builder.add(self, self.bound_arguments(args, kwargs), after=self.after, when=self.when))

    def with_options(
        self, *, name: str | None = None, after: Any = None, when: Any = None, **options: Any
    ) -> Step[P, R]:
        """The same step under another name or with other options.

        Args:
            name: The node's name.
            after: Outputs of steps that must be done first, though nothing is taken from them.
            when: Output of a step annotated `-> bool`; where it is false, this step is skipped.
            **options: As for `step`.
        """
        changed = Step(self.fn, name or self.name, _evolved(self.options, options, self.label))
        changed.after = self.after if after is None else after
        changed.when = self.when if when is None else when
        return changed

    def __get__(self, instance: object, owner: type | None = None) -> Step[P, R]:
        if instance is None:
            return self
        raise PipelineDefinitionError(f"{self.label} is a method. Steps are functions: take it out of the class.")


def _evolved(options: Any, changes: Mapping[str, Any], label: str) -> Any:
    known = [field.name for field in attrs.fields(type(options))]
    unknown = [name for name in changes if name not in known]
    if unknown:
        raise TypeError(f"{label} has no option {', '.join(map(repr, unknown))}. Options: {', '.join(known)}.")
    return attrs.evolve(options, **changes)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _declared(cls: type[Any], function: Callable[..., Any] | None, name: str | None, options: Any) -> Any:
    def decorate(decorated: Callable[..., Any]) -> Any:
        _check_function(decorated, cls.kind)
        return cls(decorated, name or decorated.__name__, options)

    return decorate if function is None else decorate(function)


def _check_function(function: Callable[..., Any], kind: str) -> None:
    name = getattr(function, "__qualname__", repr(function))
    if isinstance(function, Declared):
        raise PipelineDefinitionError(
            f"@{kind.lower()} takes a function, not {function!r}. Its with_options(…) changes it, its .fn is the "
            "function."
        )
    if not inspect.isfunction(inspect.unwrap(function)):
        raise PipelineDefinitionError(f"@{kind.lower()} takes a function, not {name}.")
    if inspect.iscoroutinefunction(function):
        raise PipelineDefinitionError(
            f"{kind} {name} is async. Make it a plain function; run the event loop inside it."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise PipelineDefinitionError(f"{kind} {name} is a generator. Return a list, or one output per annotation.")
    for each in inspect.signature(function).parameters.values():
        if each.kind in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL, each.VAR_KEYWORD):
            raise PipelineDefinitionError(
                f"{kind} {name} has the {each.kind.description} parameter {each}. Name its parameters, or take a list "
                "or dict."
            )


@overload
def step(function: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(
    *,
    name: str | None = None,
    cache: bool | timedelta | None = None,
    cache_salt: str = "",
    depends_on: Any = (),
    ignore: Any = (),
    ignore_inputs: str | Iterable[str] = (),
    retries: int | Retry | None = None,
    timeout: float | timedelta | None = None,
    resources: Resources | None = None,
    on: str | None = None,
    uses: str | Iterable[str] = (),
    tags: Mapping[str, Any] | None = None,
    on_success: StepHook | None = None,
    on_failure: StepHook | None = None,
) -> Callable[[Callable[P, R]], Step[P, R]]: ...


def step(function: Callable[P, R] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Make a function a step of pipelines.

    Args:
        function: Takes named parameters only; its return annotation names its outputs.
        name: How runs call it; the function's name by default.
        **options: The fields of `StepOptions`.

    Raises:
        PipelineDefinitionError: The function is async, a generator, a method, or takes `*args` or `**kwargs`.
    """
    return _declared(Step, function, name, _evolved(StepOptions(), _given(options), "step"))


ON_ERROR = ("continue", "stop", "fail_fast")


def _known_mode(options: object, attribute: object, value: str) -> None:
    if value not in ON_ERROR:
        raise PipelineDefinitionError(f"on_error={value!r} is not known.{suggestion(value, ON_ERROR)}")


@attrs.frozen(kw_only=True)
class PipelineOptions:
    """How a pipeline is run.

    Attributes:
        model: The model it makes versions of, serves (`.shared`) or uses (`.version(…)`).
        cache: Overrides the steps that say nothing themselves; False computes everything.
        on_error: `continue` with independent branches, `stop` starting, or `fail_fast`.
        stack: Name of the stack to run on, or the stack itself.
        rerun: Names of steps to compute again, with everything that depends on them.
        version: Name of the model version it makes; may hold `{date}`, `{time}` and parameters.
        debug: Run every step in this process, one after the other, and open the debugger where one fails.
        steps: Options of single steps, by name, and under `parameters` values that take the place of those which the
            body passes: `{"train": {"retries": 2, "parameters": {"depth": 10}}}`.
    """

    model: Model | ModelReference | None = None
    tags: Mapping[str, Any] = attrs.field(factory=dict, validator=check_tags)
    cache: bool | timedelta | None = None
    retries: Retry | None = attrs.field(default=None, converter=_retry)
    on_error: str = attrs.field(default="continue", validator=_known_mode)
    on_success: RunHook | None = None
    on_failure: RunHook | None = None
    stack: Any = None
    rerun: tuple[str, ...] = attrs.field(default=(), converter=_several)
    version: str | None = None
    debug: bool = False
    steps: Overrides = attrs.field(factory=dict, validator=check_overrides)


class Pipeline(Declared[P, R]):
    """A function whose body calls steps. Calling it runs them on the active stack."""

    kind = "Pipeline"
    mismatch: ClassVar[type[PipelineDefinitionError]] = ParameterError
    options: PipelineOptions
    asked: Mapping[str, Any] = MappingProxyType({})
    """What `with_options` has changed; kept with the run, so that `resume` can ask for the same."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Run:
        """Run the pipeline on the active stack.

        Raises:
            RunFailedError: The run did not succeed; `.run` is its record, `__cause__` the step's exception.
            PipelineDefinitionError: The graph is wrong. Nothing ran.
            PlanError: The stack cannot run it. Nothing ran.
            TargetError: It is called while a command imports its module. Nothing ran.
        """
        if building.get() is not None:
            raise PipelineDefinitionError(
                f"{self.label} is called in the body of another. Write {self.name}.inline(…) to splice its steps in."
            )
        target = importing.get()
        if target is not None:
            raise TargetError(
                f"{self.label} is called while its module is imported for {target!r}. Put the call below "
                '`if __name__ == "__main__":`, so that it happens only when the file itself is run.'
            )
        return runner().run(self, self.parameters(*args, **kwargs))

    def plan(self, *args: P.args, **kwargs: P.kwargs) -> Plan:
        """For every step whether it would run, and why. Nothing is run."""
        return runner().plan(self, self.parameters(*args, **kwargs))

    def graph(self, *args: P.args, **kwargs: P.kwargs) -> Graph:
        """The static graph for these parameters; what is wrong with it is listed in a `PipelineDefinitionError`."""
        return self.build(self.parameters(*args, **kwargs))

    def build(self, parameters: Mapping[str, Any]) -> Graph:
        """The static graph for parameters that `parameters` has checked."""
        builder = Builder(self.name)
        token = building.set(builder)
        try:
            returned = self.fn(**parameters)  # type: ignore[call-arg]
        except PipelineDefinitionError as exc:  # ended the body, so what was found before is told with it
            if not builder.problems:
                raise
            raise PipelineDefinitionError(*builder.problems, *exc.problems) from exc
        finally:
            building.reset(token)
        return overridden(builder.graph(parameters, returned), self.options.steps)

    def inline(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """In the body of another pipeline: splice this one's steps in, under its name."""
        builder = building.get()
        if builder is None:
            raise PipelineDefinitionError(f"{self.name}.inline(…) belongs in the body of a pipeline.")
        if self.options.steps:
            names = ", ".join(repr(f"{self.name}.{step}") for step in self.options.steps)
            raise PipelineDefinitionError(
                f"{self.label} is spliced in, so its own steps= would not be used. Say it of the pipeline that is run, "
                f"whose steps these are as {names}."
            )
        builder.prefixes.append(self.name)
        try:
            return self.fn(*args, **kwargs)
        finally:
            builder.prefixes.pop()

    def with_options(self, **options: Any) -> Pipeline[P, R]:
        """The same pipeline with other options: `stack`, `tags`, `cache`, `rerun`, `version`, `steps`, …."""
        given = _given(options)
        changed = Pipeline(self.fn, self.name, _evolved(self.options, given, self.label))
        if "steps" in given:  # said of one step, it takes back nothing that was said of another
            given["steps"] = merged(self.options.steps, changed.options.steps)
            changed.options = attrs.evolve(changed.options, steps=given["steps"])
        changed.asked = {**self.asked, **given}
        return changed

    def parameters(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The arguments of a call, complete and checked.

        Raises:
            ParameterError: Lists every unknown, missing and wrong one.
        """
        arguments = self.bound_arguments(args, kwargs)
        problems = [
            f"{self.label} {unlike(name, self.annotations[name], value)}"
            for name, value in arguments.items()
            if not isinstance(value, Stored) and not accepts(value, self.annotations.get(name, Any))
        ]
        if problems:
            raise ParameterError(*problems)
        return arguments


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...


@overload
def pipeline(
    *,
    name: str | None = None,
    model: Model | ModelReference | None = None,
    tags: Mapping[str, Any] | None = None,
    cache: bool | timedelta | None = None,
    retries: int | Retry | None = None,
    on_error: str = "continue",
    on_success: RunHook | None = None,
    on_failure: RunHook | None = None,
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...


def pipeline(function: Callable[P, R] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Make a function whose body calls steps a pipeline.

    Args:
        function: Runs once per call, to describe the graph; what it returns are the run's outputs.
        name: How runs are named; the function's name by default.
        **options: The fields of `PipelineOptions`.
    """
    return _declared(Pipeline, function, name, _evolved(PipelineOptions(), _given(options), "pipeline"))


def runner() -> Runner:
    """What runs pipelines, imported now."""
    return cast(Runner, imported(RUNNER)())
