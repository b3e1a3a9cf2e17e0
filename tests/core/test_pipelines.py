"""`@step` and `@pipeline`: what they accept, refuse, and leave alone."""

import datetime
import functools
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest

from drystone import Artifact, Model, Resources, Retry, pipeline, step
from drystone.errors import DrystoneError, ParameterError, PipelineDefinitionError
from drystone.pipelines import Pipeline, Step


@step
def add(one: int, other: int = 1) -> int:
    """Add two numbers."""
    return one + other


@pipeline
def adding(start: int, label: str = "sum", share: float = 0.5) -> Any:
    """Add twice."""
    return add(add(start))


def test_outside_a_pipeline_a_step_is_its_function() -> None:
    assert add(2) == 3
    assert add(one=2, other=3) == 5
    assert add.fn(2) == 3
    assert isinstance(add, Step)
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Add two numbers.", __name__)
    assert repr(add) == f"<step 'add' of {__name__}>"


def test_a_plain_call_raises_what_the_function_raises() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        add()  # type: ignore[call-arg]


def test_a_pipeline_is_described_by_its_function() -> None:
    assert isinstance(adding, Pipeline)
    assert (adding.name, adding.__doc__) == ("adding", "Add twice.")
    assert repr(adding) == f"<pipeline 'adding' of {__name__}>"
    assert pipeline(name="sums")(adding.fn).name == "sums"


def test_the_body_runs_once_for_each_graph() -> None:
    runs = []

    @pipeline
    def counted() -> Any:
        runs.append(1)
        return add(1)

    assert runs == []
    counted.graph()
    assert runs == [1]


def test_options_are_kept_and_changed_by_copy() -> None:
    declared = step(
        name="sum",
        cache=datetime.timedelta(days=1),
        retries=2,
        timeout=datetime.timedelta(minutes=1),
        resources=Resources(cpus=2),
        depends_on="data/*.csv",
        ignore_inputs=["other"],
    )(add.fn)
    assert declared.name == "sum"
    assert declared.options.retries == Retry(2)
    assert declared.options.timeout == 60
    assert declared.options.depends_on == ("data/*.csv",)
    assert declared.options.ignore_inputs == ("other",)
    changed = declared.with_options(name="total", cache=False)
    assert (changed.name, changed.options.cache, changed.options.timeout) == ("total", False, 60)
    assert (declared.name, declared.options.cache) == ("sum", datetime.timedelta(days=1))


def test_pipeline_options_are_changed_by_copy() -> None:
    delays = Model("delays")
    declared = pipeline(model=delays.shared, retries=1, on_error="stop")(adding.fn)
    assert (declared.options.model, declared.options.retries) == (delays.shared, Retry(1))
    changed = declared.with_options(stack="staging", rerun="add", tags={"team": "ops"})
    assert (changed.options.stack, changed.options.rerun) == ("staging", ("add",))
    assert (declared.options.stack, declared.options.rerun, declared.name) == (None, (), "adding")


def test_delays_between_attempts_grow() -> None:
    assert [Retry(3).wait(attempt, 0.0) for attempt in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert Retry(1, delay=10, jitter=0.5).wait(1, 0.5) == 12.5


def test_an_unknown_option_is_named_with_those_that_exist() -> None:
    with pytest.raises(
        TypeError, match=r"^step has no option 'retrys'\. Options: cache, cache_salt, .*retries, timeout"
    ):
        step(retrys=3)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"^Step 'add' has no option 'chache'\. Options: cache,"):
        add.with_options(chache=False)
    with pytest.raises(TypeError, match=r"^pipeline has no option 'stage'\. Options: model,"):
        pipeline(stage="production")  # type: ignore[call-overload]


def test_an_unknown_mode_is_named_with_those_that_exist() -> None:
    with pytest.raises(PipelineDefinitionError) as caught:
        pipeline(on_error="stopp")
    assert str(caught.value) == (
        "on_error='stopp' is not known. Did you mean 'stop'? Known: continue, fail_fast, stop."
    )


def test_functions_that_cannot_be_steps_are_refused_where_they_are_decorated() -> None:
    async def fetch() -> None: ...

    def stream() -> Any:
        yield 1

    async def flow() -> Any:
        yield 1

    def many(*items: int) -> None: ...

    def open_ended(**items: int) -> None: ...

    def positional(item: int, /) -> None: ...

    prefix = "test_functions_that_cannot_be_steps_are_refused_where_they_are_decorated.<locals>."
    wayout = "Name its parameters, or take a list or dict."
    expected = {
        fetch: f"Step {prefix}fetch is async. Make it a plain function; run the event loop inside it.",
        stream: f"Step {prefix}stream is a generator. Return a list, or one output per annotation.",
        flow: f"Step {prefix}flow is a generator. Return a list, or one output per annotation.",
        many: f"Step {prefix}many has the variadic positional parameter *items: int. {wayout}",
        open_ended: f"Step {prefix}open_ended has the variadic keyword parameter **items: int. {wayout}",
        positional: f"Step {prefix}positional has the positional-only parameter item: int. {wayout}",
        Model: "@step takes a function, not Model.",
    }
    for function, message in expected.items():
        with pytest.raises(PipelineDefinitionError) as caught:
            step(function)
        assert str(caught.value) == message


def test_functions_that_cannot_be_pipelines_are_refused_where_they_are_decorated() -> None:
    with pytest.raises(PipelineDefinitionError) as caught:
        pipeline(lambda *months: None)
    assert str(caught.value).endswith(
        "<lambda> has the variadic positional parameter *months. Name its parameters, or take a list or dict."
    )
    with pytest.raises(PipelineDefinitionError, match=r"^@pipeline takes a function, not Model\.$"):
        pipeline(Model)


def test_a_step_in_a_class_is_refused_when_it_is_called() -> None:
    class Trainer:
        @step
        def train(self, depth: int) -> int:
            return depth

    with pytest.raises(PipelineDefinitionError) as caught:
        _ = Trainer().train
    assert str(caught.value) == "Step 'train' is a method. Steps are functions: take it out of the class."


def test_a_decorated_function_is_a_step_with_its_own_signature() -> None:
    def logged(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @step
    @logged
    def double(number: int) -> Annotated[int, Artifact("doubled")]:
        return 2 * number

    assert list(double.signature.parameters) == ["number"]
    assert [output.name for output in double.outputs] == ["doubled"]
    assert double(4) == 8


def test_a_step_is_not_made_a_step_again() -> None:
    for decorate in (step(name="sum"), pipeline):
        with pytest.raises(PipelineDefinitionError) as caught:
            decorate(add)  # type: ignore[arg-type]
        assert str(caught.value).endswith(
            f" takes a function, not <step 'add' of {__name__}>. Its with_options(…) changes it, its .fn is the "
            "function."
        )


def test_a_stored_artifact_may_be_any_parameter() -> None:
    raw = Artifact("raw").latest
    assert adding.parameters(raw)["start"] is raw  # type: ignore[arg-type]


SCRIPT = """
import dataclasses, sys
from drystone import pipeline, step

@dataclasses.dataclass
class Config:
    depth: int

@step
def make() -> list[Config]:
    return [Config(2)]

@pipeline
def making():
    return make()

if __name__ == "__main__":
    print(making().executed)
"""


def test_a_result_is_found_again_whether_its_script_was_run_or_imported(project: Path, python: Any) -> None:
    (project / "script.py").write_text(SCRIPT)
    assert python("script.py").stdout == "1\n"
    assert python("-c", "import script; print(script.making().executed)").stdout == "0\n"


class Single(NamedTuple):
    total: int


def test_a_tuple_of_one_is_kept_as_its_member(project: Path) -> None:
    @step
    def single() -> Single:
        return Single(3)

    @step
    def doubled(number: int) -> tuple[int]:
        return (2 * number,)

    @pipeline
    def counting() -> Any:
        return (*single(), *doubled(single().total))

    assert [version.load() for version in counting().outputs.values()] == [3, 6]


def test_an_argument_too_long_to_print_is_one_like_any_other(project: Path) -> None:
    @pipeline
    def counting(start: int) -> Any:
        return add(start)

    assert counting(10**5000).output.load() == 10**5000 + 1
    with pytest.raises(ParameterError, match=r"takes 'label' as str, but is given a value of int, which is int\."):
        adding(1, label=10**5000)  # type: ignore[arg-type]


def test_parameters_are_complete_and_checked() -> None:
    assert adding.parameters(1) == {"start": 1, "label": "sum", "share": 0.5}
    assert adding.parameters(start=1, share=1) == {"start": 1, "label": "sum", "share": 1}


def test_every_unknown_and_missing_parameter_is_told_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        adding.graph(lable="a", shares=1)  # type: ignore[call-arg]
    assert caught.value.problems == (
        "Pipeline 'adding' has no parameter 'lable'. Did you mean 'label'? Its parameters: label, share, start.",
        "Pipeline 'adding' has no parameter 'shares'. Did you mean 'share'? Its parameters: label, share, start.",
        "Pipeline 'adding' needs 'start', which has no default.",
    )


def test_every_parameter_of_a_wrong_type_is_told_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        adding.graph("1", label=2)  # type: ignore[arg-type]
    assert caught.value.problems == (
        "Pipeline 'adding' takes 'start' as int, but is given '1', which is str.",
        "Pipeline 'adding' takes 'label' as str, but is given 2, which is int.",
    )


def test_a_pipeline_called_in_the_body_of_another_says_how_to_splice_it_in() -> None:
    @pipeline
    def outer() -> Any:
        return adding(1)

    with pytest.raises(PipelineDefinitionError) as caught:
        outer.graph()
    assert str(caught.value) == (
        "Pipeline 'adding' is called in the body of another. Write adding.inline(…) to splice its steps in."
    )


def test_inline_belongs_in_the_body_of_a_pipeline() -> None:
    with pytest.raises(PipelineDefinitionError) as caught:
        adding.inline(1)
    assert str(caught.value) == "adding.inline(…) belongs in the body of a pipeline."


def test_an_error_in_the_body_is_the_users_own() -> None:
    @pipeline
    def broken() -> Any:
        raise KeyError("month")

    with pytest.raises(KeyError) as caught:
        broken.graph()
    assert not isinstance(caught.value, DrystoneError)
    assert add(1) == 2, "the failed body must not leave its builder behind"


def test_a_tag_that_cannot_be_kept_is_refused_where_it_is_written():
    for declare in (lambda tags: Artifact("a", tags=tags), lambda tags: Model("m", tags=tags), lambda t: step(tags=t)):
        declare({"team": "ops", "plain": True, "round": 3})
        with pytest.raises(ValueError, match="these are not: since, owners"):
            declare({"since": object(), "owners": ["a"], "fine": "yes"})


@pytest.mark.parametrize("name", ["a/b", "a@1", "..", "line\nbreak"])
def test_a_name_that_would_not_fit_into_an_address_is_refused(name):
    def plain() -> int:
        return 1

    for declare in (lambda: step(name=name)(plain), lambda: pipeline(name=name)(plain)):
        with pytest.raises(PipelineDefinitionError, match=r"cannot be the name of a (step|pipeline)"):
            declare()
    with pytest.raises(PipelineDefinitionError, match="cannot be the name of a step"):
        step(plain).with_options(name=name)
