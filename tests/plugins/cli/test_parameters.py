"""What `run` and `plan` are asked for, from the command line and from files."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any

import attrs
import pytest

from drystone import Resources, Retry, Secret, pipeline, step
from drystone.errors import ParameterError, PipelineDefinitionError
from drystone.pipelines import PipelineOptions, StepOptions
from drystone_cli.parameters import PIPELINE_OPTIONS, STEP_OPTIONS, requested


@step
def load(rows: int, day: datetime.date = datetime.date(2026, 1, 1)) -> list[int]:
    return list(range(rows))


@step(retries=1, tags={"by": "decorator"})
def fit(data: list[int], depth: int = 8, rate=0.5) -> float:
    return sum(data) * depth * rate


@pipeline(tags={"team": "ops"}, on_error="stop")
def training(
    rows: Annotated[int, "how many"],
    day: datetime.date = datetime.date(2026, 1, 31),
    label="x",
    anything=None,
    rate=0.5,
) -> Any:
    return fit(load(rows, day), 4, rate)


@pytest.fixture
def file(tmp_path: Path):
    """Writes a file of parameters."""

    def write(text: str, name: str = "params.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def problems(file: Path | None = None, **given: Any) -> list[str]:
    with pytest.raises(ParameterError) as caught:
        requested(training, files=[file] if file else [], **given)
    return [each.replace(str(file), "FILE") for each in caught.value.problems]


def test_arguments_follow_the_signature_and_its_defaults():
    texts = ["rows=3", "day=2026-01-31", "label=7", "rate=2", "anything=[1]"]
    assert requested(training, texts)[1] == {
        "rows": 3,
        "day": datetime.date(2026, 1, 31),
        "label": "7",
        "rate": 2.0,
        "anything": [1],
    }


def test_annotations_that_cannot_be_read_are_told_by_the_pipeline():
    @pipeline
    def odd(day: datetime.dat) -> Any:
        return load(1)

    with pytest.raises(PipelineDefinitionError, match=r"^The annotations of .*odd cannot be evaluated"):
        requested(odd, ["day=x"])


def test_every_wrong_text_is_named_at_once():
    assert problems(params=["rows=x", "day=y", "nonsense", "label=a", "label=b", "rat=1"], tags=["=x"]) == [
        "--param rows: it takes a whole number, not 'x'.",
        "--param day: it takes a date like 2026-01-31, not 'y'.",
        "--param 'nonsense' is not of the form name=value.",
        "--param label is given twice.",
        "--param rat: Pipeline 'training' has no parameter 'rat'. Did you mean 'rate'? "
        "Its parameters: anything, day, label, rate, rows.",
        "--tag '=x' is not of the form name or name=value.",
    ]


def test_a_parameter_without_a_value_is_told_with_the_rest():
    assert problems(params=["rate=x"]) == [
        "--param rate: it takes a number, not 'x'.",
        "Pipeline 'training' needs 'rows', which has no default.",
    ]


FULL = """
[parameters]
rows = 5
day = 2026-02-03

[pipeline]
stack = "staging"
on_error = "fail_fast"
cache = "12h"
rerun = "fit"
retries = 3
tags = ["nightly"]
version = "v-{date}"

[steps.fit]
cache = false
cache_salt = "2"
depends_on = ["data/*.csv"]
ignore = "flows.LOG"
ignore_inputs = ["rate"]
retries = {max = 2, delay = 0.5}
timeout = "10 min"
resources = {cpus = 2, memory = "8GiB"}
tags = {by = "file"}

[steps.fit.parameters]
depth = 10
"""


def test_a_file_says_all_that_can_be_said(file):
    found, arguments = requested(training, files=[file(FULL)])
    assert arguments == {"rows": 5, "day": datetime.date(2026, 2, 3)}
    assert found.options == PipelineOptions(
        stack="staging",
        on_error="fail_fast",
        cache=datetime.timedelta(hours=12),
        rerun="fit",
        retries=3,
        tags={"team": "ops", "nightly": True},
        version="v-{date}",
        steps=found.options.steps,
    )
    node = found.graph(**arguments).nodes["fit"]
    assert node.step.options == StepOptions(
        cache=False,
        cache_salt="2",
        depends_on="data/*.csv",
        ignore="flows.LOG",
        ignore_inputs="rate",
        retries=Retry(2, delay=0.5),
        timeout=600,
        resources=Resources(cpus=2, memory="8GiB"),
        tags={"by": "file"},
    )
    assert node.bindings["depth"].value == 10


def test_files_can_say_every_option_but_those_that_are_code():
    code = {"on_success", "on_failure"}
    assert {*PIPELINE_OPTIONS} == {*attrs.fields_dict(PipelineOptions)} - code - {"model", "steps", "debug"}
    assert {*STEP_OPTIONS} == {*attrs.fields_dict(StepOptions)} - code


def test_the_command_line_counts_before_files_and_a_later_file_before_an_earlier_one(file):
    first = file("[parameters]\nrows = 1\nrate = 0.1\nlabel = 'a'\n[steps.fit]\nretries = 4\ntimeout = 5\n", "a.toml")
    second = file(
        "parameters: {rate: 0.2, label: b}\nsteps: {fit: {retries: 5}}\npipeline: {on_error: continue}\n", "b.yaml"
    )
    found, arguments = requested(
        training, ["label=c"], [first, second], ["team=ml", "late"], on_error="fail_fast", stack=None
    )
    assert arguments == {"rows": 1, "rate": 0.2, "label": "c"}
    assert (found.options.on_error, found.options.stack) == ("fail_fast", None)
    assert found.options.tags == {"team": "ml", "late": True}
    options = found.graph(**arguments).nodes["fit"].step.options
    assert (options.retries, options.timeout, options.tags) == (Retry(5), 5, {"by": "decorator"})


WRONG = """
rows: 3
parameter: {x: 1}
parameters: {rowz: 1, rows: many}
pipeline: {on_error: stopp, retries: -1, on_success: f, rate: 1, tags: {a: [1]}}
steps:
  fitt: {retries: 1}
  load: 3
  fit:
    retrys: 2
    depth: 3
    timeout: soon
    resources: {cpus: -1}
    parameters: {data: [1], depth: deep, nope: 1}
"""


def test_everything_that_is_wrong_in_a_file_is_told_at_once_with_its_place(file):
    path = file(WRONG, "params.yaml")
    options = "cache, cache_salt, depends_on, ignore, ignore_inputs, on, resources, retries, tags, timeout, uses"
    assert problems(path, params=["rows=3"]) == [
        "FILE: rows: it is a parameter of the pipeline, and belongs into the section 'parameters'.",
        "FILE: parameter: there is no such section. Did you mean 'parameters'? Sections: parameters, pipeline, steps.",
        "FILE: parameters.rowz: Pipeline 'training' has no parameter 'rowz'. Did you mean 'rows'? "
        "Its parameters: anything, day, label, rate, rows.",
        "FILE: parameters.rows: it takes a whole number, not 'many'.",
        "FILE: pipeline.on_error: it takes one of 'continue', 'stop', 'fail_fast', not 'stopp'. Did you mean 'stop'?",
        "FILE: pipeline.on_success: there is no such option. "
        "Options: cache, on_error, rerun, retries, stack, tags, version.",
        "FILE: pipeline.rate: it is no option but a parameter, and belongs into the section 'parameters'.",
        "FILE: pipeline.tags['a']: it takes a whole number or a number or true or false or a text, not ['1'].",
        "FILE: pipeline.retries: 'max' must be >= 0: -1.",
        "FILE: steps.load: it takes a table of names and values, not '3'.",
        f"FILE: steps.fit.retrys: there is no such option. Did you mean 'retries'? Options: {options}.",
        "FILE: steps.fit.depth: it is no option but a parameter, and belongs into the section 'steps.fit.parameters'.",
        "FILE: steps.fit.timeout: it takes a number or a duration like 90s, 12h or 1d 30min, not 'soon'.",
        "FILE: steps.fit.resources: 'cpus' must be > 0: -1.0.",
        "FILE: steps.fit.parameters.depth: it takes a whole number, not 'deep'.",
        "FILE: steps: Pipeline 'training' has no step 'fitt'. Did you mean 'fit'? Its steps: fit, load.",
        "FILE: steps: Step 'fit' takes 'data' from step 'load', so it cannot be given another value. What the body of "
        "the pipeline passes as a plain value, or leaves at its default, can be changed.",
        "FILE: steps: Step 'fit' has no parameter 'nope'. Its parameters: data, depth, rate.",
    ]


def test_sections_that_are_no_tables_are_told(file):
    path = file('parameters = 3\nsteps = [1]\npipeline = "x"\n')
    assert problems(path, params=["rows=1"]) == [
        "FILE: parameters: it takes a table of names and values, not 3.",
        "FILE: steps: it takes a table of names and values, not [1].",
        "FILE: pipeline: it takes a table of names and values, not 'x'.",
    ]


def test_keys_that_are_no_names_are_told_like_any_other(file):
    path = file(
        "null: 1\nparameters: {null: 1, 3.5: 2}\npipeline: {null: 1}\nsteps: {null: {null: 1}, fit: {~: 1}}\n", "a.yaml"
    )
    assert [each.partition(".")[0] for each in problems(path, params=["rows=1"])] == [
        "FILE: None: there is no such section",
        "FILE: parameters",
        "FILE: parameters",
        "FILE: pipeline",
        "FILE: steps",
        "FILE: steps",
        "FILE: steps: Pipeline 'training' has no step 'None'",
    ]


def test_what_has_no_end_is_told_as_nested_too_deeply(file):
    path = file("parameters: {anything: &a [*a], label: b}\n", "a.yaml")
    deep = "[" * 100_000 + "]" * 100_000
    assert problems(path, params=["rows=1"]) == ["FILE: parameters.anything: it is nested too deeply."]
    assert requested(training, ["rows=1", f"anything={deep}"])[1]["anything"] == deep


def test_a_secret_is_given_by_reference_and_never_shown(file):
    @pipeline
    def publishing(key: Secret) -> Any:
        return load(1)

    path = file("[parameters]\nkey = 'hunter2'\n")
    assert requested(publishing, ["key=env:API_KEY"])[1] == {"key": Secret("env:API_KEY")}
    for files, params in [([path], []), ([], ["key=hunter2"])]:
        with pytest.raises(ParameterError, match="the reference of a secret like env:API_KEY") as caught:
            requested(publishing, params, files)
        assert "hunter2" not in str(caught.value)


def test_what_is_wrong_with_one_file_is_told_once(file):
    first = file("[steps.fitt]\nretries = 1\n", "a.toml")
    second = file("[steps.fit]\nretries = 1\n", "b.toml")
    with pytest.raises(ParameterError) as caught:
        requested(training, ["rows=1"], [first, second, Path("c.toml")])
    assert caught.value.problems == (
        "c.toml: it cannot be read: No such file or directory.",
        f"{first}: steps: Pipeline 'training' has no step 'fitt'. Did you mean 'fit'? Its steps: fit, load.",
    )


def test_steps_are_checked_though_the_arguments_are_wrong(file):
    path = file("[parameters]\nrate = 'x'\n[steps.fit.parameters]\ndepth = 'y'\n")
    assert problems(path, params=["rows=1"]) == [
        "FILE: parameters.rate: it takes a number, not 'x'.",
        "FILE: steps.fit.parameters.depth: it takes a whole number, not 'y'.",
    ]


def test_a_body_that_fails_is_told_as_what_it_is(file):
    @pipeline
    def broken() -> Any:
        raise KeyError("month")

    with pytest.raises(KeyError):
        requested(broken, files=[file("[steps.fit]\nretries = 1\n")])
