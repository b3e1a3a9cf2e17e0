"""What each event does to the documents of an index. Costs a fixed number of statements, however much there is."""

from __future__ import annotations

from collections.abc import Callable

from drystone.documents import MODEL_ITSELF, Document, Documents, Fields
from drystone.events import is_known
from drystone.ledgers import Commit
from drystone.runs import CACHED, COMPLETE, PENDING, RUNNING


def project(index: Documents, commit: Commit) -> None:
    """Enter a commit.

    Raises:
        FormatError: It holds something that this package does not know and must not skip.
        WorkspaceError: It leaves a number out, or gives one twice.
    """
    for event in commit.events:
        if is_known(event):
            _PROJECTIONS[event["type"]](index, event, commit)


Projection = Callable[[Documents, Fields, Commit], None]
_PROJECTIONS: dict[str, Projection] = {}


def _of(event: str) -> Callable[[Projection], Projection]:
    """Marks a function as what events of a type do."""

    def register(function: Projection) -> Projection:
        _PROJECTIONS[event] = function
        return function

    return register


def _facts(event: Fields, *without: str) -> Document:
    return {name: value for name, value in event.items() if name not in ("type", "v", "critical", *without)}


@_of("run.started")
def _run_started(index: Documents, event: Fields, commit: Commit) -> None:
    run = event["run"]
    body = _facts(event, "run") | {"name": run, "status": RUNNING, "started_at": commit.at, "metadata": {}}
    body["author"] = event["author"] or commit.author
    index.put_new("run", run, event["pipeline"], event["number"], body, epoch=1)


@_of("run.claimed")
def _run_claimed(index: Documents, event: Fields, commit: Commit) -> None:
    body = index.get("run", event["run"])
    if body is None:
        return
    again = {"status": RUNNING, "lock": event["lock"], "ended_at": None, "error": None}
    index.put("run", event["run"], body | again, epoch=event["epoch"])
    for step in index.select("step", {"run": event["run"]}, order="id"):
        if step["status"] not in COMPLETE:
            index.put("step", f"{event['run']}/{step['name']}", step | {"status": PENDING, "error": None})


@_of("run.finished")
def _run_finished(index: Documents, event: Fields, commit: Commit) -> None:
    body = index.get("run", event["run"])
    if body is None:
        return
    ended = {"ended_at": commit.at, "metadata": body["metadata"] | event["metadata"]}
    if event["model_version"] is not None:
        model, number = event["model_version"]
        ended["model"] = model
        index.link("model", model, number, "run", event["run"])
    index.put("run", event["run"], body | _facts(event, "run") | ended)


@_of("step.started")
def _step_started(index: Documents, event: Fields, commit: Commit) -> None:
    name = f"{event['run']}/{event['step']}"
    before = (index.get("step", name) if event["attempt"] > 1 else None) or {}
    facts = _facts(event, "step", "attempt") | {"name": event["step"], "status": RUNNING, "attempts": event["attempt"]}
    body = facts | {"started_at": before.get("started_at", commit.at), "metadata": {}, "outputs": {}}
    index.put("step", name, body, run=event["run"], key=event["key"], ended=None)


@_of("step.finished")
def _step_finished(index: Documents, event: Fields, commit: Commit) -> None:
    name = f"{event['run']}/{event['step']}"
    before = index.get("step", name) or {"started_at": None, "metadata": {}, "outputs": {}, "inputs": {}, "key": None}
    said = {each: value for each, value in _facts(event, "step").items() if value or each not in before}
    body = before | said | {"name": event["step"], "ended_at": commit.at}
    index.put("step", name, body, run=event["run"], key=body["key"], ended=commit.seq)
    for artifact, version in body["inputs"].values():
        index.link("step", name, 0, "input", artifact, version)
    for artifact, version in body["outputs"].values() if body["status"] == CACHED else ():
        index.link("key", body["key"], 0, "output", artifact, version)


@_of("artifact.saved")
def _artifact_saved(index: Documents, event: Fields, commit: Commit) -> None:
    name, version = event["name"], event["version"]
    made = [event["run"], event["step"]] if event["run"] else None
    body = _facts(event, "run", "step") | {"created_at": commit.at, "produced_by": made}
    index.put_new("artifact", f"{name}@{version}", name, version, body, run=event["run"])


@_of("code.recorded")
def _code_recorded(index: Documents, event: Fields, commit: Commit) -> None:
    index.put("code", event["closure"], _facts(event, "closure"))


@_of("source.recorded")
def _source_recorded(index: Documents, event: Fields, commit: Commit) -> None:
    index.put("source", event["digest"], _facts(event, "digest"))


def _model(index: Documents, name: str) -> Document:
    new = {"name": name, "description": "", "tags": {}, "metadata": {}, "stages": {}, "moves": []}
    return index.get("model", name) or new


@_of("model.declared")
def _model_declared(index: Documents, event: Fields, commit: Commit) -> None:
    body = _model(index, event["model"])
    tags = body["tags"] | event["tags"]
    index.untag("model", event["model"], body["tags"])
    index.put("model", event["model"], body | {"description": event["description"], "tags": tags})
    index.tag("model", event["model"], tags)


@_of("model.version_created")
def _model_version_created(index: Documents, event: Fields, commit: Commit) -> None:
    model, number = event["model"], event["number"]
    index.put("model", model, _model(index, model))
    body = _facts(event) | {"created_at": commit.at, "metadata": {}}
    index.put_new("model_version", f"{model}@{number}", model, number, body, run=event["run"])


@_of("model.linked")
def _linked(index: Documents, event: Fields, commit: Commit) -> None:
    number = MODEL_ITSELF if event["number"] is None else event["number"]
    index.link("model", event["model"], number, event["role"], event["artifact"], event["version"])
    if number == MODEL_ITSELF:
        index.put("model", event["model"], _model(index, event["model"]))


@_of("model.stage_moved")
def _stage_moved(index: Documents, event: Fields, commit: Commit) -> None:
    body = _model(index, event["model"])
    stages = {stage: holder for stage, holder in body["stages"].items() if stage != event["stage"]}
    if event["number"] is not None:
        stages[event["stage"]] = event["number"]
    move = _facts(event) | {"at": commit.at, "author": commit.author}
    index.put("model", event["model"], body | {"stages": stages, "moves": [*body["moves"], move]})


@_of("metadata.logged")
def _metadata_logged(index: Documents, event: Fields, commit: Commit) -> None:
    body = index.get(event["kind"], event["record"])
    if body is not None:
        index.put(event["kind"], event["record"], body | {"metadata": body["metadata"] | event["values"]})


def _retagged(index: Documents, event: Fields, tags: Callable[[Document], Document]) -> None:
    kind, name = event["kind"], event["record"]
    body = index.get(kind, name)
    if body is not None:
        before = body.get("tags", {})
        index.untag(kind, name, before)
        index.put(kind, name, body | {"tags": tags(before)})
        index.tag(kind, name, tags(before))


@_of("record.tagged")
def _tagged(index: Documents, event: Fields, commit: Commit) -> None:
    _retagged(index, event, lambda before: before | event["tags"])


@_of("record.untagged")
def _untagged(index: Documents, event: Fields, commit: Commit) -> None:
    _retagged(index, event, lambda before: {tag: each for tag, each in before.items() if tag not in event["tags"]})
