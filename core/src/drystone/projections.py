"""What each event does to the documents of an index. Costs a fixed number of statements, however much there is."""

from __future__ import annotations

from collections.abc import Callable, Collection

from drystone.documents import MODEL_ITSELF, Document, Documents, Fields
from drystone.events import is_known
from drystone.ledgers import Commit
from drystone.runs import COMPLETE, PENDING, RUNNING


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
    begun = {"status": RUNNING, "started_at": commit.at, "author": commit.author, "metadata": {}}
    body = _facts(event, "run") | {"name": run} | begun
    index.put_new("run", run, event["pipeline"], event["number"], body, epoch=1)


@_of("run.claimed")
def _run_claimed(index: Documents, event: Fields, commit: Commit) -> None:
    body = index.get("run", event["run"])
    if body is None:
        return
    again = _facts(event, "run", "epoch") | {"status": RUNNING, "ended_at": None, "error": None}
    index.put("run", event["run"], body | again, epoch=event["epoch"])
    for step in index.select("step", {"run": event["run"]}, order="id"):
        if step["status"] not in COMPLETE:
            kept = {name: step[name] for name in ("name", "run", "tags")}
            index.put("step", f"{step['run']}/{step['name']}", kept | {"status": PENDING, "metadata": {}}, key=None)


@_of("run.finished")
def _run_finished(index: Documents, event: Fields, commit: Commit) -> None:
    body = index.get("run", event["run"])
    if body is None:
        return
    ended = {"ended_at": commit.at}
    if event["model_version"] is not None:
        model, number = event["model_version"]
        ended["model"] = model
        index.link("model", model, number, "run", event["run"], commit.seq)
    index.put("run", event["run"], body | _facts(event, "run") | ended)


@_of("step.started")
def _step_started(index: Documents, event: Fields, commit: Commit) -> None:
    name, before = _begun(index, event)
    facts = _facts(event, "step", "attempt") | {"status": RUNNING, "attempts": event["attempt"], "outputs": {}}
    body = {"started_at": commit.at} | before | facts
    index.put("step", name, body, run=event["run"], key=event["key"], ended=None)


def _begun(index: Documents, event: Fields) -> tuple[str, Document]:
    """A step that goes on, or begins: of what another driver completed, but this one does anew, only tags count."""
    name = f"{event['run']}/{event['step']}"
    body = index.get("step", name) or {}
    if body.get("status") in (RUNNING, PENDING):
        return name, body
    return name, {"name": event["step"], "tags": body.get("tags", {}), "metadata": {}}


@_of("step.finished")
def _step_finished(index: Documents, event: Fields, commit: Commit) -> None:
    name, before = _begun(index, event)
    said = {each: value for each, value in _facts(event, "step").items() if value or each not in before}
    body = before | said | {"ended_at": commit.at, "metadata": before["metadata"] | event["metadata"]}
    index.put("step", name, body, run=event["run"], key=body["key"], ended=commit.seq)
    for artifact, version in body["inputs"].values():
        index.link("step", name, 0, "input", artifact, version)


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
    new: Document = {"name": name, "description": "", "tags": {}, "declared": None, "metadata": {}, "stages": {}}
    return index.get("model", name) or new


@_of("model.declared")
def _model_declared(index: Documents, event: Fields, commit: Commit) -> None:
    model = event["model"]
    said = {"description": event["description"], "declared": event["tags"]}
    index.put("model", model, _model(index, model) | said)
    _retag(index, "model", model, event["tags"])


@_of("model.version_created")
def _model_version_created(index: Documents, event: Fields, commit: Commit) -> None:
    model, number = event["model"], event["number"]
    index.put("model", model, _model(index, model))
    body = _facts(event) | {"created_at": commit.at, "metadata": {}, "held": False}
    index.put_new("model_version", f"{model}@{number}", model, number, body, run=event["run"])
    if event["name"] is not None:
        index.put("version_name", f"{model}@{event['name']}", {"number": number})


@_of("model.linked")
def _linked(index: Documents, event: Fields, commit: Commit) -> None:
    number = MODEL_ITSELF if event["number"] is None else event["number"]
    index.link("model", event["model"], number, event["role"], event["artifact"], event["version"])
    if number == MODEL_ITSELF:
        index.put("model", event["model"], _model(index, event["model"]))


@_of("model.stage_moved")
def _stage_moved(index: Documents, event: Fields, commit: Commit) -> None:
    model, stage, number = event["model"], event["stage"], event["number"]
    body = _model(index, model)
    holders = {each: holder for each, holder in (body["stages"] | {stage: number}).items() if holder is not None}
    index.put("model", model, body | {"stages": holders})
    version = index.get("model_version", f"{model}@{number}")
    if version is not None:
        index.put("model_version", f"{model}@{number}", version | {"held": True})
    move = _facts(event) | {"at": commit.at, "author": commit.author}
    order = index.next_number("move", model)
    index.put("move", f"{model}@{order}", move, parent=model, number=order)


@_of("metadata.logged")
def _metadata_logged(index: Documents, event: Fields, commit: Commit) -> None:
    body = index.get(event["kind"], event["record"])
    if body is not None:
        index.put(event["kind"], event["record"], body | {"metadata": body["metadata"] | event["values"]})


def _retag(index: Documents, kind: str, name: str, added: Fields, gone: Collection[str] = ()) -> None:
    body = index.get(kind, name)
    if body is not None:
        index.untag(kind, name, body["tags"])
        body["tags"] = {tag: value for tag, value in (body["tags"] | added).items() if tag not in gone}
        index.put(kind, name, body)
        index.tag(kind, name, body["tags"])


@_of("record.tagged")
def _tagged(index: Documents, event: Fields, commit: Commit) -> None:
    _retag(index, event["kind"], event["record"], event["tags"])


@_of("record.untagged")
def _untagged(index: Documents, event: Fields, commit: Commit) -> None:
    _retag(index, event["kind"], event["record"], {}, event["tags"])
