"""Parameters and options that a run was asked for: they do what they say, and stay with the run."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drystone import Workspace, find_pipeline
from drystone.errors import RunFailedError

FLOWS = """
import dataclasses
import datetime
import enum
import pathlib
from typing import Annotated

from drystone import Model, pipeline, step

m = Model("scores")
told = []


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


@dataclasses.dataclass(frozen=True)
class Config:
    depth: int = 3
    since: datetime.date | None = None


def alert(run):
    told.append(run.status)


@step
def load(rows: int) -> list[int]:
    return list(range(rows))


@step
def fit(data: list[int], config: Config = Config(), mode: Mode = Mode.FAST) -> Annotated[int, "score"]:
    return sum(data) * config.depth * (10 if mode is Mode.SLOW else 1)


@step
def publish(score: int, to: str = "nowhere") -> str:
    if not pathlib.Path("published").exists():
        raise RuntimeError(f"cannot publish to {to}")
    return f"{score} to {to}"


@pipeline(model=m)
def training(rows: int = 3, mode: Mode = Mode.FAST):
    return publish(fit(load(rows), mode=mode))
"""


@pytest.fixture
def flows(module: Callable[[str, str], Path]) -> Path:
    """A project with a pipeline whose last step fails until there is a file `published`."""
    return module("flows", FLOWS)


PARAMS = """
[parameters]
rows = 4

[pipeline]
on_error = "stop"
tags = ["nightly"]
version = "{date}-{rows}"

[steps.fit.parameters]
config = { depth = 2, since = 2026-01-31 }

[steps.publish]
retries = { max = 1, delay = 0 }
parameters = { to = "file" }
"""


def test_a_run_does_what_it_was_asked_for_and_remembers_it(
    flows: Path, project: Path, command: Callable[..., Any]
) -> None:
    (project / "params.toml").write_text(PARAMS)
    (project / "published").touch()
    asked = ("flows:training", "--params", "params.toml", "--param", "mode=slow", "--tag", "team=ops", "--rerun", "fit")
    assert command("plan", *asked).code == 2
    ran = command("run", *asked, "--json")
    assert ran.code == 0, ran.err
    [record] = ran.records
    run = Workspace.current().run("training-1")
    assert run.steps["publish"].outputs["output"].load() == "120 to file"
    assert run.parameters == {"rows": 4, "mode": {"$": "enum", "type": "flows:Mode", "v": "SLOW"}}
    assert run.tags == {"nightly": True, "team": "ops"}
    assert run.model_version is not None
    assert run.model_version.name == run.options["version"] == f"{run.started_at.astimezone():%Y-%m-%d}-4"
    assert record["options"] == run.options
    assert (run.options["on_error"], run.options["rerun"]) == ("stop", ["fit"])
    assert run.options["steps"]["publish"]["parameters"] == {"to": "file"}
    assert "config" in run.steps["fit"].parameters
    assert "options:" in command("runs", "show", "training-1").out


def test_a_resumed_run_is_asked_for_the_same_again(flows: Path, project: Path, command: Callable[..., Any]) -> None:
    (project / "params.toml").write_text(PARAMS)
    asked = ("--params", "params.toml", "--rerun", "load", "--version-name", "first")
    failed = command("run", "flows:training", *asked)
    assert failed.code == 1
    assert failed.last == "Error: Run training-1 failed: step 'publish' raised RuntimeError: cannot publish to file"
    assert Workspace.current().run("training-1").steps["publish"].attempts == 2
    (project / "params.toml").unlink()
    (project / "published").touch()
    resumed = command("resume", "training-1")
    assert resumed.code == 0, resumed.err
    assert "  publish: succeeded" in resumed.err
    run = Workspace.current().run("training-1")
    assert {name: step.status for name, step in run.steps.items()} == dict.fromkeys(run.steps, "succeeded")
    assert run.steps["publish"].outputs["output"].load() == "12 to file"
    assert run.steps["load"].outputs["output"].version == 1, "it was computed once, by the run's first driver"
    assert (run.tags, run.model_version.name if run.model_version else "") == ({"nightly": True}, "first")


def test_names_with_the_time_of_the_run_are_those_of_its_start(
    flows: Path, project: Path, command: Callable[..., Any]
) -> None:
    timed = FLOWS.replace("-> str:", '-> Annotated[str, Artifact("news-{date}-{time}")]:').replace(
        "import Model", "import Artifact, Model"
    )
    flows.write_text(timed)
    assert command("run", "flows:training").code == 1
    (project / "published").touch()
    assert command("resume", "training-1").code == 0
    run = Workspace.current().run("training-1")
    assert list(run.outputs) == ["publish"]
    assert run.output.name == f"news-{run.started_at.astimezone():%Y-%m-%d-%H-%M-%S}"


def test_cache_off_is_remembered_by_resume(flows: Path, project: Path, command: Callable[..., Any]) -> None:
    (project / "published").touch()
    assert command("run", "flows:training").code == 0
    (project / "published").unlink()
    assert command("run", "flows:training", "--no-cache").code == 1
    flows.write_text(FLOWS.replace("sum(data)", "2 * sum(data)"))
    (project / "published").touch()
    resumed = command("resume", "training-2")
    assert resumed.code == 0, resumed.err
    run = Workspace.current().run("training-2")
    assert {name: step.status for name, step in run.steps.items()} == dict.fromkeys(run.steps, "succeeded")
    assert run.options == {"cache": False}


def test_hooks_that_can_be_imported_are_called_by_a_resumed_run(
    flows: Path, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    training = find_pipeline("flows:training", project)
    flows_module = sys.modules["flows"]
    asked = training.with_options(on_success=flows_module.alert, on_failure=lambda run: None)
    with pytest.raises(RunFailedError) as failed:
        asked()
    (project / "published").touch()
    with caplog.at_level(logging.WARNING):
        assert Workspace.current().resume(failed.value.run.name).status == "succeeded"
    assert flows_module.told == ["succeeded"]
    assert "on_failure of run training-1 cannot be restored, so the run goes on without it" in caplog.text


def test_what_is_wrong_with_the_whole_command_is_one_report(
    flows: Path, project: Path, command: Callable[..., Any]
) -> None:
    (project / "params.json").write_text(json.dumps({"parameters": {"rowz": 1}, "steps": {"fit": {"retries": "x"}}}))
    refused = command(
        "run", "flows:training", "--params", "params.json", "--params", "none.yaml", "--param", "mode=fats"
    )
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.splitlines() == [
        "Error: 4 problems:",
        "  - params.json: parameters.rowz: Pipeline 'training' has no parameter 'rowz'. Did you mean 'rows'? "
        "Its parameters: mode, rows.",
        "  - none.yaml: it cannot be read: No such file or directory.",
        "  - --param mode: it takes one of FAST, SLOW, not 'fats'. Did you mean 'fast'?",
        "  - params.json: steps.fit.retries: it takes a whole number or a table with max, delay, backoff, "
        "jitter, when, not 'x'.",
    ]
    assert Workspace.current().runs() == []


def test_yaml_is_not_imported_unless_a_yaml_file_is_given(
    flows: Path, project: Path, python: Callable[..., Any]
) -> None:
    (project / "published").touch()
    (project / "params.toml").write_text("[parameters]\nrows = 2\n")
    code = "import sys; from drystone_cli.main import main; main(sys.argv[1:]); print('yaml' in sys.modules)"
    assert python("-c", code, "run", "flows:training", "--params", "params.toml").stdout.splitlines()[-1] == "False"


KINDS = """
import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from typing import Literal, NamedTuple

import attrs

from drystone import Secret, pipeline, step


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Range(NamedTuple):
    low: float
    high: float = 1.0


@dataclasses.dataclass(frozen=True)
class Inner:
    day: datetime.date


@attrs.frozen
class Config:
    _size: int
    inner: Inner | None = None
    modes: tuple[Mode, ...] = ()


@step
def seen(values: list) -> str:
    return repr(values)


@pipeline
def showing(
    whole: int,
    share: float,
    yes: bool,
    text: str,
    day: datetime.date,
    moment: datetime.datetime,
    time: datetime.time,
    span: datetime.timedelta,
    money: decimal.Decimal,
    id: uuid.UUID,
    path: pathlib.Path,
    mode: Mode,
    speed: Literal["fast", 2],
    days: list[datetime.date],
    table: dict[int, set[int]],
    bounds: Range,
    config: Config,
    key: Secret,
    perhaps: int | None = 3,
):
    return seen(list(locals().values()))
"""

TEXTS = {
    "whole": ("3", 3),
    "share": ("3", 3.0),
    "yes": ("true", True),
    "text": ("3", "3"),
    "day": ("2026-01-31", "2026-01-31"),
    "moment": ("2026-01-31T12:00+02:00", "2026-01-31T12:00+02:00"),
    "time": ("12:30", "12:30"),
    "span": ("1d 12h", "1d 12h"),
    "money": ("0.10", "0.10"),
    "id": ("12345678-1234-5678-1234-567812345678", "12345678-1234-5678-1234-567812345678"),
    "path": ("a/b", "a/b"),
    "mode": ("slow", "SLOW"),
    "speed": ("2", 2),
    "days": ('["2026-01-31"]', ["2026-01-31"]),
    "table": ('{"1": [2, 3]}', {"1": [2, 3]}),
    "bounds": ('{"low": 1}', {"low": 1}),
    "config": (
        '{"size": 3, "inner": {"day": "2026-01-31"}, "modes": ["FAST"]}',
        {"size": 3, "inner": {"day": "2026-01-31"}, "modes": ["FAST"]},
    ),
    "key": ("env:API_KEY", "env:API_KEY"),
    "perhaps": ("none", None),
}
"""Of each parameter the text on the command line, and what stands in a file."""


def test_every_kind_of_parameter_reaches_the_step_and_the_cache_knows_it_again(
    flows: Path, project: Path, command: Callable[..., Any]
) -> None:
    flows.write_text(KINDS)
    texts = [f"--param={name}={text}" for name, (text, _) in TEXTS.items()]
    (project / "params.json").write_text(json.dumps({"parameters": {name: data for name, (_, data) in TEXTS.items()}}))
    first = command("run", "flows:showing", *texts)
    assert first.code == 0, first.err
    assert Workspace.current().run("showing-1").output.load() == (
        "[3, 3.0, True, '3', datetime.date(2026, 1, 31), datetime.datetime(2026, 1, 31, 12, 0, "
        "tzinfo=datetime.timezone(datetime.timedelta(seconds=7200))), datetime.time(12, 30), "
        "datetime.timedelta(days=1, seconds=43200), Decimal('0.10'), UUID('12345678-1234-5678-1234-567812345678'), "
        "PosixPath('a/b'), <Mode.SLOW: 'slow'>, 2, [datetime.date(2026, 1, 31)], {1: {2, 3}}, "
        "Range(low=1.0, high=1.0), "
        "Config(_size=3, inner=Inner(day=datetime.date(2026, 1, 31)), modes=(<Mode.FAST: 'fast'>,)), "
        "Secret(reference='env:API_KEY'), None]"
    )
    second = command("run", "flows:showing", "--params", "params.json")
    assert second.code == 0, second.err
    assert Workspace.current().run("showing-2").executed == 0
