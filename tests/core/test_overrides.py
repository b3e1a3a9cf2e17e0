"""Options and parameters of single steps that a run is asked for beside the code."""

import datetime
from typing import Any

import pytest

from drystone import Artifact, Resources, Retry, pipeline, step
from drystone.errors import ParameterError, PipelineDefinitionError
from drystone.graphs import Lookup, Value
from drystone.overrides import merged


@step
def load(rows: int) -> list[int]:
    return list(range(rows))


@step(retries=1, timeout=10)
def fit(data: list[int], depth: int = 8, *, weights: Any = None) -> float:
    return float(sum(data) * depth)


@pipeline
def training(rows: int = 3) -> Any:
    data = load(rows)
    return fit(data, 4), fit.with_options(name="deep")(data), fit(data, weights=Artifact("weights").latest)


def test_options_of_one_step_are_changed_and_no_others() -> None:
    changed = training.with_options(steps={"fit": {"retries": 3, "cache": datetime.timedelta(hours=1)}})
    nodes = changed.graph().nodes
    assert (nodes["fit"].step.options.retries, nodes["fit"].step.options.timeout) == (Retry(3), 10)
    assert nodes["fit"].step.options.cache == datetime.timedelta(hours=1)
    assert nodes["deep"].step.options == nodes["fit_2"].step.options == fit.options
    assert training.graph().nodes["fit"].step is fit


def test_a_parameter_takes_the_place_of_what_the_body_passes() -> None:
    steps = {
        "load": {"parameters": {"rows": 5}},
        "fit": {"parameters": {"depth": 1}},
        "deep": {"parameters": {"depth": 2}},
    }
    nodes = training.with_options(steps=steps).graph(rows=9).nodes
    assert nodes["load"].bindings["rows"] == Value(5)
    assert [nodes[name].bindings["depth"] for name in ("fit", "deep", "fit_2")] == [Value(1), Value(2), Value(8)]
    assert nodes["fit"].upstream == ("load",)


def test_an_artifact_can_take_the_place_of_a_value_and_a_value_that_of_an_artifact() -> None:
    older = Artifact("weights").version(2)
    nodes = (
        training.with_options(
            steps={"fit": {"parameters": {"weights": older}}, "fit_2": {"parameters": {"weights": [1, older]}}}
        )
        .graph()
        .nodes
    )
    assert nodes["fit"].bindings["weights"] == Lookup(older)
    assert nodes["fit_2"].bindings["weights"].items == (Value(1), Lookup(older))


def test_what_is_wrong_is_told_at_once() -> None:
    steps = {
        "fitt": {"retries": 1},
        "fit": {"retrys": 1, "depth": 2, "parameters": {"data": [1], "dept": 1, "depth": "x"}},
        "deep": {"retries": -1},
    }
    with pytest.raises(ParameterError) as caught:
        training.with_options(steps=steps).graph()
    options = "cache, cache_salt, depends_on, ignore, ignore_inputs, on, on_failure, on_success, parameters, resources"
    assert caught.value.problems == (
        "Pipeline 'training' has no step 'fitt'. Did you mean 'fit'? Its steps: deep, fit, fit_2, load.",
        f"Step 'fit' has no option 'retrys'. Did you mean 'retries'? Options: {options}, retries, tags, timeout, uses.",
        "Step 'fit' has no option 'depth'; it is one of its parameters, whose values stand under 'parameters'.",
        "Step 'fit' takes 'data' from step 'load', so it cannot be given another value. What the body of the pipeline "
        "passes as a plain value, or leaves at its default, can be changed.",
        "Step 'fit' has no parameter 'dept'. Did you mean 'depth'? Its parameters: data, depth, weights.",
        "Step 'fit' takes 'depth' as int, but is given 'x', which is str.",
        "Step 'deep' cannot have these options: 'max' must be >= 0: -1",
    )


@pytest.mark.parametrize("steps", [3, {"fit": 3}, {"fit": {"parameters": [1]}}])
def test_what_has_another_shape_is_refused_where_it_is_asked_for(steps: Any) -> None:
    with pytest.raises(ParameterError) as caught:
        training.with_options(steps=steps)
    assert str(caught.value) == (
        f"steps={steps!r} does not say what of which step is to be changed. It looks like this: "
        'steps={"train": {"retries": 2, "parameters": {"depth": 10}}}.'
    )


def test_what_is_said_later_takes_back_nothing_but_what_it_says_again() -> None:
    first = training.with_options(steps={"fit": {"retries": 3, "parameters": {"depth": 1}}}, tags={"a": True})
    second = first.with_options(
        steps={"fit": {"timeout": None, "parameters": {"weights": 2}}, "load": {"cache": False}}
    )
    expected = {
        "fit": {"retries": 3, "timeout": None, "parameters": {"depth": 1, "weights": 2}},
        "load": {"cache": False},
    }
    assert second.options.steps == second.asked["steps"] == expected
    assert second.graph().nodes["fit"].step.options.timeout is None
    assert second.asked["tags"] == {"a": True}
    assert (training.options.steps, dict(training.asked)) == ({}, {})


def test_steps_that_are_spliced_in_are_changed_by_the_pipeline_that_is_run() -> None:
    @pipeline
    def outer() -> Any:
        return training.inline(3)

    @pipeline
    def wrong() -> Any:
        return training.with_options(steps={"fit": {"retries": 3}}).inline(3)

    changed = outer.with_options(steps={"training.fit": {"retries": 3}})
    assert changed.graph().nodes["training.fit"].step.options.retries == Retry(3)
    with pytest.raises(PipelineDefinitionError) as caught:
        wrong.graph()
    assert str(caught.value) == (
        "Pipeline 'training' is spliced in, so its own steps= would not be used. Say it of the pipeline that is run, "
        "whose steps these are as 'training.fit'."
    )


def test_overrides_are_merged_by_option_and_by_parameter() -> None:
    first = {"a": {"cache": False, "parameters": {"x": 1, "y": 1}}, "b": {"retries": 1}}
    second = {"a": {"cache": True, "parameters": {"y": 2}}, "c": {"resources": Resources(cpus=1)}}
    both = merged(first, second)
    assert both == {
        "a": {"cache": True, "parameters": {"x": 1, "y": 2}},
        "b": {"retries": 1},
        "c": {"resources": Resources(cpus=1)},
    }
    assert first["a"] == {"cache": False, "parameters": {"x": 1, "y": 1}}
