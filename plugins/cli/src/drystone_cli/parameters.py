"""What `run` and `plan` are asked for, on the command line and in files, read by what it is to be.

All that is wrong is told at once, with its place.
"""

from __future__ import annotations

import datetime
import inspect
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from drystone import Resources, Retry
from drystone.errors import DrystoneError, ParameterError, suggestion
from drystone_cli.files import FileError, load
from drystone_cli.structures import UnreadableError
from drystone_cli.values import from_data, from_text

Tags: TypeAlias = dict[str, str | int | float | bool] | list[str] | str
Names: TypeAlias = list[str] | str
Cache: TypeAlias = bool | datetime.timedelta

PIPELINE_OPTIONS: Mapping[str, Any] = {
    "stack": str,
    "on_error": Literal["continue", "stop", "fail_fast"],
    "cache": Cache,
    "rerun": Names,
    "retries": int | Retry,
    "tags": Tags,
    "version": str,
}
"""What a file may say of the whole run."""

STEP_OPTIONS: Mapping[str, Any] = {
    "cache": Cache | None,
    "cache_salt": str,
    "depends_on": Names,
    "ignore": Names,
    "ignore_inputs": Names,
    "uses": Names,
    "retries": int | Retry | None,
    "timeout": float | datetime.timedelta | None,
    "resources": Resources | None,
    "on": str | None,
    "tags": Tags,
}
"""What a file may say of one step."""

TOO_DEEP = "it is nested too deeply."

PARAMETERS, PIPELINE, STEPS = SECTIONS = ("parameters", "pipeline", "steps")


def requested(
    pipeline: Any,
    params: Iterable[str] = (),
    files: Iterable[pathlib.Path] = (),
    tags: Iterable[str] = (),
    **options: Any,
) -> tuple[Any, dict[str, Any]]:
    """A pipeline with the options that are asked for, and the arguments to call it with.

    Args:
        pipeline: As it was declared.
        params: Texts like `name=value`; they count before what files say.
        files: Of parameters and options; a later one counts before an earlier one.
        tags: Texts like `nightly` or `team=ops`; they are added to those of files and of the pipeline.
        **options: From the command line, those that were given; they count before what files say.

    Raises:
        ParameterError: Lists everything that is wrong, with its place.
    """
    request = _Request(pipeline)
    for path in files:
        request.take_file(path)
    request.take_texts(params)
    return request.finished({**options, "tags": request.tags(tags)})


def annotations_of(declared: Any) -> dict[str, Any]:
    """What each parameter of a pipeline or step is; where nothing is said, what its default is."""
    found = {}
    for name, parameter in declared.signature.parameters.items():
        default = None if parameter.default is inspect.Parameter.empty else parameter.default
        found[name] = declared.annotations.get(name, Any if default is None else type(default))
    return found


def _tags(given: Tags) -> dict[str, Any]:
    if isinstance(given, dict):
        return given
    return dict.fromkeys([given] if isinstance(given, str) else given, True)


class _Request:
    """Takes in what is asked for, and notes what is wrong with it."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.parameters = annotations_of(pipeline)
        self.arguments: dict[str, Any] = {}
        self.unread: set[str] = set()
        self.steps: list[tuple[pathlib.Path, Mapping[str, Any]]] = []
        self.problems: list[str] = []

    def finished(self, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The pipeline and its arguments.

        Raises:
            ParameterError: Something was wrong.
        """
        self._check_missing()
        self._take_steps()
        if self.problems:
            raise ParameterError(*self.problems)
        return self._with_options(options), self.arguments

    def take_texts(self, texts: Iterable[str]) -> None:
        """Parameters of the command line."""
        seen = set()
        for text in texts:
            name, equals, value = text.partition("=")
            place = f"--param {name}"
            if not equals or not name:
                self.problems.append(f"--param {text!r} is not of the form name=value.")
            elif name in seen:
                self.problems.append(f"{place} is given twice.")
            elif name not in self.parameters:
                self.problems.append(f"{place}: {self._unknown_parameter(name)}")
            else:
                self._read_text(name, value)
            seen.add(name)

    def tags(self, texts: Iterable[str]) -> dict[str, Any]:
        """Tags of the command line."""
        pairs = {text: text.partition("=") for text in texts}
        wrong = [text for text, (name, _, _) in pairs.items() if not name.strip()]
        self.problems += [f"--tag {text!r} is not of the form name or name=value." for text in wrong]
        return {name: value if equals else True for name, equals, value in pairs.values()}

    def _read_text(self, name: str, text: str) -> None:
        try:
            self.arguments[name] = from_text(text, self.parameters[name])
        except UnreadableError as exc:
            self.unread.add(name)
            self.problems += [f"--param {name}{place}: {message}" for place, message in exc.problems]
        except RecursionError:
            self.problems.append(f"--param {name}: {TOO_DEEP}")

    def take_file(self, path: pathlib.Path) -> None:
        """Parameters and options of a file."""
        try:
            data = load(path)
        except FileError as exc:
            self.problems.append(f"{path}: {exc}")
            return
        self.problems += [f"{path}: {name}: {self._stray(str(name))}" for name in data if name not in SECTIONS]
        found = self._tables(path, data, SECTIONS)
        arguments = found.get(PARAMETERS, {})
        unknown = {name: self._unknown_parameter(str(name)) for name in arguments if name not in self.parameters}
        self.arguments |= self._read(f"{path}: {PARAMETERS}", arguments, self.parameters, unknown)
        self.unread |= {name for name in arguments if name in self.parameters} - {*self.arguments}
        self._take_options(f"{path}: {PIPELINE}", found.get(PIPELINE, {}))
        self.steps.append((path, self._tables(f"{path}: {STEPS}", found.get(STEPS, {}))))

    def _tables(self, place: Any, data: Mapping[str, Any], names: Iterable[str] | None = None) -> dict[str, Any]:
        """Those of the given names, or all, that hold tables; the others are wrong."""
        found = {str(name): table for name, table in data.items() if names is None or name in names}
        dot = "." if names is None else ": "
        for name in [name for name, table in found.items() if not isinstance(table, dict)]:
            self.problems.append(f"{place}{dot}{name}: it takes a table of names and values, not {found.pop(name)!r}.")
        return found

    def _stray(self, name: str) -> str:
        """What to say of a name at the top level that is no section."""
        if name in self.parameters:
            return f"it is a parameter of the pipeline, and belongs into the section {PARAMETERS!r}."
        if name in PIPELINE_OPTIONS:
            return f"it is an option of the pipeline, and belongs into the section {PIPELINE!r}."
        return f"there is no such section.{suggestion(name, SECTIONS, 'Sections')}"

    def _unknown_parameter(self, name: str) -> str:
        hint = suggestion(name, self.parameters, "Its parameters")
        return f"{self.pipeline.label} has no parameter {name!r}.{hint}"

    def _read(
        self, place: str, given: Mapping[str, Any], known: Mapping[str, Any], unknown: Mapping[str, str]
    ) -> dict[str, Any]:
        """The values of a table that can be read as what they are to be."""
        found = {}
        for name, data in given.items():
            try:
                if name in unknown:
                    self.problems.append(f"{place}.{name}: {unknown[name]}")
                else:
                    found[str(name)] = from_data(data, known[name])
            except UnreadableError as exc:
                self.problems += [f"{place}.{name}{inner}: {message}" for inner, message in exc.problems]
            except RecursionError:
                self.problems.append(f"{place}.{name}: {TOO_DEEP}")
        return found

    def _read_options(
        self, place: str, given: Mapping[str, Any], known: Mapping[str, Any], parameters: Iterable[str], section: str
    ) -> dict[str, Any]:
        """The options of a table; of a name that is one of the `parameters`, it is said to which section it belongs."""
        missing = [name for name in given if name not in known]
        unknown = {name: f"there is no such option.{suggestion(str(name), known, 'Options')}" for name in missing}
        misplaced = f"it is no option but a parameter, and belongs into the section {section!r}."
        unknown |= {name: misplaced for name in missing if name in parameters}
        found = self._read(place, given, known, unknown)
        return found | ({"tags": _tags(found["tags"])} if "tags" in found else {})

    def _take_options(self, place: str, given: Mapping[str, Any]) -> None:
        for name, value in self._read_options(place, given, PIPELINE_OPTIONS, self.parameters, PARAMETERS).items():
            try:
                self.pipeline = self._with_options({name: value})
            except (DrystoneError, ValueError) as exc:
                self.problems.append(f"{place}.{name}: {exc}.".replace("..", "."))

    def _with_options(self, options: Mapping[str, Any]) -> Any:
        """The pipeline with further options; tags are added to those it has."""
        tags = options.get("tags")
        added = {**self.pipeline.options.tags, **tags} if tags else None
        return self.pipeline.with_options(**{**options, "tags": added})

    def _check_missing(self) -> None:
        given = {*self.arguments, *self.unread}
        for name, parameter in self.pipeline.signature.parameters.items():
            if name not in given and parameter.default is parameter.empty:
                self.problems.append(f"{self.pipeline.label} needs {name!r}, which has no default.")

    def _take_steps(self) -> None:
        """What files say of single steps; which there are depends on the arguments, so this comes last."""
        files = [(path, tables) for path, tables in self.steps if tables]
        graph = self._graph() if files else None
        for path, tables in files:
            steps = dict(self._step(f"{path}: {STEPS}.{name}", graph, name, table) for name, table in tables.items())
            pipeline = self.pipeline.with_options(steps=steps)
            try:
                if graph is not None:
                    pipeline.graph(**self.arguments)
                self.pipeline = pipeline
            except ParameterError as exc:
                self.problems += [f"{path}: {STEPS}: {problem}" for problem in exc.problems]

    def _graph(self) -> Any:
        """The graph, if it can be made of the arguments that are right.

        Raises:
            Exception: The arguments are right, so it is the pipeline that is wrong.
        """
        try:
            return self.pipeline.graph(**self.arguments)
        except Exception:
            if not self.problems:
                raise
            return None

    def _step(self, place: str, graph: Any, name: str, table: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The options of one step; a step that does not exist is left to the pipeline to refuse."""
        values = table.get(PARAMETERS, {})
        options = {each: data for each, data in table.items() if each != PARAMETERS}
        known: dict[str, Any] = {}
        if graph is not None and name in graph.nodes:
            node = graph.nodes[name]
            annotated = {each: node.takes(each) for each in node.bindings if each in node.step.annotations}
            known = annotations_of(node.step) | annotated
        found = self._read_options(place, options, STEP_OPTIONS, known, f"{STEPS}.{name}.{PARAMETERS}")
        if not isinstance(values, dict):
            self.problems.append(f"{place}.{PARAMETERS}: it takes a table of names and values, not {values!r}.")
        elif values:
            given = {str(each): known.get(each, Any) for each in values}
            found[PARAMETERS] = self._read(f"{place}.{PARAMETERS}", values, given, {})
        return name, found
