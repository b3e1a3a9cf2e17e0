"""What each event does to the documents of an index. Costs a fixed number of statements, however much there is.

Only taking over a run touches every step of it that is not complete.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection

from drystone.documents import MODEL_ITSELF, Document, Documents, Fields
from drystone.errors import LedgerDamagedError, WorkspaceError
from drystone.events import is_known
from drystone.fans import element_name
from drystone.ledgers import CURE, Commit
from drystone.runs import CACHED, COMPLETE, PENDING, RUNNING
from drystone.stack_events import StackPublished, StackUnpublished
from drystone.store_events import ArtifactsCopied, BlobsMissed


def project(index: Documents, commit: Commit) -> None:
    """Enter a commit.

    Raises:
        FormatError: It holds something that this package does not know and must not skip.
        LedgerDamagedError: It holds what no version of Drystone writes.
        WorkspaceError: It leaves a number out, or gives one twice.
    """
    for event in commit.events:
        try:
            if is_known(event):
                _PROJECTIONS[event["type"]](index, event, commit)
        except WorkspaceError as exc:
            raise type(exc)(f"Commit {commit.seq} cannot be entered. {exc}") from exc
        except UnicodeEncodeError:
            raise
        except _IMPOSSIBLE as exc:
            raise impossible(commit, exc) from exc


def impossible(commit: Commit, exc: Exception) -> LedgerDamagedError:
    """What to say of a commit that no version of Drystone writes."""
    types = ", ".join(str(event.get("type"))[:40] for event in commit.events[:5])
    return LedgerDamagedError(
        f"Commit {commit.seq} of the ledger has an event that no version of Drystone writes, of the types {types} "
        f"({exc!r:.80}).{CURE}"
    )


_IMPOSSIBLE = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.IntegrityError,
)
"""What goes wrong where an event lacks a field, or has one of another type."""


def _facts(event: Fields, *without: str) -> Document:
    return {name: value for name, value in event.items() if name not in ("type", "v", "critical", *without)}


def _run_started(index: Documents, event: Fields, commit: Commit) -> None:
    run = event["run"]
    begun = {"status": RUNNING, "started_at": commit.at, "author": commit.author, "metadata": {}}
    body = _facts(event, "run") | {"name": run} | begun
    index.put_new("run", run, event["pipeline"], event["number"], body, epoch=1)


def _run_claimed(index: Documents, event: Fields, commit: Commit) -> None:
    body = index.get("run", event["run"])
    if body is None:
        return
    again = _facts(event, "run", "epoch") | {"status": RUNNING, "ended_at": None, "error": None, "cancelled_by": None}
    index.put("run", event["run"], body | again, epoch=event["epoch"])
    for step in index.select("step", {"run": event["run"]}, order="id"):
        if step["status"] not in COMPLETE:
            kept = {name: step[name] for name in ("name", "run", "tags")}
            index.put("step", f"{step['run']}/{step['name']}", kept | {"status": PENDING, "metadata": {}}, key=None)


def _cancel_requested(index: Documents, event: Fields, commit: Commit) -> None:
    body = index.get("run", event["run"])
    if body is not None:
        index.put("run", event["run"], body | {"cancelled_by": commit.author})


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


def _step_started(index: Documents, event: Fields, commit: Commit) -> None:
    name, before, found_by = _begun(index, event)
    facts = _facts(event, "step", "attempt") | {"status": RUNNING, "attempts": event["attempt"], "outputs": {}}
    body = {"started_at": commit.at} | before | facts
    index.put("step", name, body, **found_by, key=event["key"], ended=None)


def _begun(index: Documents, event: Fields) -> tuple[str, Document, Document]:
    """A step that goes on, or begins: of what another driver completed, but this one does anew, only tags count.

    Returns:
        Its name, itself, and the columns that it is found by.
    """
    run, step = event["run"], event["step"]
    body = index.get("step", f"{run}/{step}") or {}
    if body.get("status") not in (RUNNING, PENDING):
        body = {"name": step, "tags": body.get("tags", {}), "metadata": {}}
    return f"{run}/{step}", body, {"run": run, "parent": f"{run.rpartition('-')[0]}/{step}"}


def _step_retried(index: Documents, event: Fields, commit: Commit) -> None:
    name = f"{event['run']}/{event['step']}"
    body = index.get("step", name)
    if body is not None:
        failed = _facts(event, "run", "step") | {"ended_at": commit.at}
        index.put("step", name, body | {"failed_attempts": [*body.get("failed_attempts", []), failed]})


def _step_finished(index: Documents, event: Fields, commit: Commit) -> None:
    name, before, found_by = _begun(index, event)
    said = {each: value for each, value in _facts(event, "step").items() if value or each not in before}
    body = before | said | {"ended_at": commit.at, "metadata": before["metadata"] | event["metadata"]}
    index.put("step", name, body, **found_by, key=body["key"], ended=commit.seq)
    for artifact, version in body["inputs"].values():
        index.link("step", name, 0, "input", artifact, version)
    for artifact, version, _ in body.get("dynamic_inputs", {}).values():
        index.link("step", name, 0, "input", artifact, version)
    for artifact, version in body["outputs"].values() if body["status"] == CACHED else ():
        index.link("key", body["key"], 0, "output", artifact, version)


def _element_finished(index: Documents, event: Fields, commit: Commit) -> None:
    step, number = f"{event['run']}/{event['step']}", event["index"]
    name = element_name(event["step"], number)
    body = _facts(event, "step") | {"name": name, "tags": {}, "ended_at": commit.at}
    found_by = {"parent": step, "number": number, "key": event["key"], "ended": commit.seq}
    index.put("element", element_name(step, number), body, **found_by)


def _artifact_saved(index: Documents, event: Fields, commit: Commit) -> None:
    name, version = event["name"], event["version"]
    made = [event["run"], event["step"]] if event["run"] else None
    body = _facts(event, "run", "step") | {"created_at": commit.at, "produced_by": made}
    index.put_new("artifact", f"{name}@{version}", name, version, body, run=event["run"])


def _artifacts_copied(index: Documents, event: Fields, commit: Commit) -> None:
    for name, version in event["versions"]:
        body = index.get("artifact", f"{name}@{version}")
        if body is not None:
            manifest = body["manifest"]
            copies = dict.fromkeys([*manifest.get("copies", ()), event["store"]])
            index.put("artifact", f"{name}@{version}", body | {"manifest": manifest | {"copies": [*copies]}})


def _blobs_missed(index: Documents, event: Fields, commit: Commit) -> None:
    for digest in event["digests"]:
        body = {"store": event["store"], "digest": digest}
        index.put("missed", f"{digest} in {event['store']}", body, parent=event["store"])


def _code_recorded(index: Documents, event: Fields, commit: Commit) -> None:
    index.put("code", event["closure"], _facts(event, "closure"))


def _source_recorded(index: Documents, event: Fields, commit: Commit) -> None:
    index.put("source", event["digest"], _facts(event, "digest"))


def _model(index: Documents, name: str) -> Document:
    new: Document = {"name": name, "description": "", "tags": {}, "declared": None, "metadata": {}, "stages": {}}
    return index.get("model", name) or new


def _model_declared(index: Documents, event: Fields, commit: Commit) -> None:
    model = event["model"]
    said = {"description": event["description"], "declared": event["tags"]}
    index.put("model", model, _model(index, model) | said)
    _retag(index, "model", model, event["tags"])


def _model_version_created(index: Documents, event: Fields, commit: Commit) -> None:
    model, number = event["model"], event["number"]
    index.put("model", model, _model(index, model))
    body = _facts(event) | {"created_at": commit.at, "metadata": {}, "held": False}
    index.put_new("model_version", f"{model}@{number}", model, number, body, run=event["run"])
    if event["name"] is not None:
        index.put("version_name", f"{model}@{event['name']}", {"number": number})


def _linked(index: Documents, event: Fields, commit: Commit) -> None:
    number = MODEL_ITSELF if event["number"] is None else event["number"]
    index.link("model", event["model"], number, event["role"], event["artifact"], event["version"])
    if number == MODEL_ITSELF:
        index.put("model", event["model"], _model(index, event["model"]))


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


def _tagged(index: Documents, event: Fields, commit: Commit) -> None:
    _retag(index, event["kind"], event["record"], event["tags"])


def _untagged(index: Documents, event: Fields, commit: Commit) -> None:
    _retag(index, event["kind"], event["record"], {}, event["tags"])


def _stack_version(index: Documents, event: Fields, commit: Commit) -> None:
    name, number = event["name"], event["number"]
    body: Document = {"components": None, "tags": {}} | _facts(event) | {"at": commit.at, "author": commit.author}
    index.put_new("stack", f"{name}@{number}", name, number, body)


_PROJECTIONS: dict[str, Callable[[Documents, Fields, Commit], None]] = {
    "run.started": _run_started,
    "run.claimed": _run_claimed,
    "run.cancel_requested": _cancel_requested,
    "run.finished": _run_finished,
    "step.started": _step_started,
    "step.retried": _step_retried,
    "step.finished": _step_finished,
    "element.finished": _element_finished,
    "artifact.saved": _artifact_saved,
    "code.recorded": _code_recorded,
    "source.recorded": _source_recorded,
    "model.declared": _model_declared,
    "model.version_created": _model_version_created,
    "model.linked": _linked,
    "model.stage_moved": _stage_moved,
    "metadata.logged": _metadata_logged,
    "record.tagged": _tagged,
    "record.untagged": _untagged,
    StackPublished.TYPE: _stack_version,
    StackUnpublished.TYPE: _stack_version,
    ArtifactsCopied.TYPE: _artifacts_copied,
    BlobsMissed.TYPE: _blobs_missed,
}
