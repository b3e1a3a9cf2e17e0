"""What each event does to the tables of the index.

Names of tables carry the schema's number: another schema is another set of tables, filled from the ledger by whoever
wants it. Every event costs a fixed number of statements, however much the workspace holds.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from drystone.errors import WorkspaceError
from drystone.events import (
    ArtifactSaved,
    CodeRecorded,
    Linked,
    MetadataLogged,
    ModelDeclared,
    ModelVersionCreated,
    RunClaimed,
    RunFinished,
    RunStarted,
    SourceRecorded,
    StageMoved,
    StepFinished,
    StepStarted,
    Tagged,
    Untagged,
    is_known,
)
from drystone.ledgers import Commit
from drystone.runs import COMPLETE, PENDING, RUNNING
from drystone.serialization import to_text

PREFIX = "v1_"

SCHEMA = (
    "TABLE v1_position (id INTEGER PRIMARY KEY, seq INTEGER, digest TEXT)",
    "TABLE v1_counters (kind TEXT, name TEXT, value INTEGER, PRIMARY KEY (kind, name)) WITHOUT ROWID",
    """TABLE v1_runs (id INTEGER PRIMARY KEY, name TEXT, number INTEGER, pipeline TEXT, status TEXT, epoch INTEGER,
       lock TEXT, model TEXT, model_number INTEGER, started_at TEXT, ended_at TEXT, executed INTEGER, outputs TEXT,
       metadata TEXT, error TEXT, body TEXT)""",
    "UNIQUE INDEX v1_runs_name ON v1_runs (name)",
    "INDEX v1_runs_pipeline ON v1_runs (pipeline)",
    "INDEX v1_runs_status ON v1_runs (status)",
    "INDEX v1_runs_model ON v1_runs (model, model_number)",
    """TABLE v1_steps (id INTEGER PRIMARY KEY, run TEXT, name TEXT, status TEXT, attempts INTEGER,
       key TEXT, ended INTEGER, started_at TEXT, ended_at TEXT, outputs TEXT, metadata TEXT, body TEXT)""",
    "UNIQUE INDEX v1_steps_name ON v1_steps (run, name)",
    "INDEX v1_steps_key ON v1_steps (key, ended) WHERE status = 'succeeded'",
    """TABLE v1_versions (id INTEGER PRIMARY KEY, name TEXT, version INTEGER, kind TEXT, run TEXT, step TEXT,
       created_at TEXT, manifest TEXT, metadata TEXT)""",
    "UNIQUE INDEX v1_versions_name ON v1_versions (name, version)",
    "INDEX v1_versions_run ON v1_versions (run) WHERE run IS NOT NULL",
    """TABLE v1_uses (artifact TEXT, version INTEGER, run TEXT, step TEXT,
       PRIMARY KEY (artifact, version, run, step)) WITHOUT ROWID""",
    "TABLE v1_tags (kind TEXT, record TEXT, name TEXT, value TEXT, PRIMARY KEY (kind, record, name)) WITHOUT ROWID",
    "INDEX v1_tags_name ON v1_tags (kind, name)",
    "TABLE v1_models (name TEXT PRIMARY KEY, description TEXT, metadata TEXT) WITHOUT ROWID",
    """TABLE v1_model_versions (model TEXT, number INTEGER, name TEXT, run TEXT, created_at TEXT, archived INTEGER,
       metadata TEXT, PRIMARY KEY (model, number)) WITHOUT ROWID""",
    "INDEX v1_model_versions_run ON v1_model_versions (run)",
    """TABLE v1_links (model TEXT, artifact TEXT, version INTEGER, number INTEGER, role TEXT,
       PRIMARY KEY (model, artifact, version, number, role)) WITHOUT ROWID""",
    "INDEX v1_links_number ON v1_links (model, number)",
    "TABLE v1_stages (model TEXT, stage TEXT, number INTEGER, PRIMARY KEY (model, stage)) WITHOUT ROWID",
    """TABLE v1_moves (id INTEGER PRIMARY KEY, model TEXT, stage TEXT, number INTEGER, previous INTEGER, at TEXT,
       author TEXT, action TEXT, reason TEXT)""",
    "INDEX v1_moves_stage ON v1_moves (model, stage)",
    "TABLE v1_code (closure TEXT PRIMARY KEY, body TEXT) WITHOUT ROWID",
    "TABLE v1_sources (digest TEXT PRIMARY KEY, body TEXT)",
)

MODEL_ITSELF = 0
"""Stands in `v1_links` for a model as a whole, where otherwise the number of a version is."""

Execute = Callable[..., sqlite3.Cursor]
Fields = Mapping[str, Any]


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the index's tables, empty."""
    for statement in SCHEMA:
        connection.execute(f"CREATE {statement}")
    connection.execute("INSERT INTO v1_position VALUES (1, 0, '')")


def table_names(connection: sqlite3.Connection) -> list[str]:
    """The index's tables, as far as they exist."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return [name for (name,) in rows if name.startswith(PREFIX)]


def project(connection: sqlite3.Connection, commit: Commit) -> None:
    """Enter a commit into the tables.

    Raises:
        FormatError: It holds something that this package does not know and must not skip.
        WorkspaceError: It leaves a number out, or gives one twice.
    """
    execute = connection.execute
    ended = {(event["run"], event["step"]) for event in commit.events if event["type"] == StepFinished.TYPE}
    for event in commit.events:
        if event["type"] == StepStarted.TYPE and (event["run"], event["step"]) in ended:
            continue  # its end says everything again
        if is_known(event):
            _PROJECTIONS[event["type"]](execute, event, commit)
    execute("UPDATE v1_position SET seq = ?, digest = ? WHERE id = 1", (commit.seq, commit.digest))


def split_address(kind: str, record: str) -> tuple[str | int, ...]:
    """The key of a record in its table: `("name", 2)` for the artifact `name@2`."""
    if kind == "step":
        run, _, step = record.partition("/")
        return run, step
    if kind in ("artifact", "model_version"):
        name, _, number = record.rpartition("@")
        return name, int(number)
    return (record,)


def _count(execute: Execute, kind: str, name: str, number: int) -> None:
    """Note the newest number of a name; numbers are dense and never given twice."""
    step = (number, kind, name, number - 1)
    if execute("UPDATE v1_counters SET value = ? WHERE kind = ? AND name = ? AND value = ?", step).rowcount == 1:
        return
    row = execute("SELECT value FROM v1_counters WHERE kind = ? AND name = ?", (kind, name)).fetchone()
    if row is not None or number != 1:
        last = row[0] if row else 0
        raise WorkspaceError(f"The next {kind} of {name!r} has number {last + 1}, so {number} cannot be recorded.")
    execute("INSERT INTO v1_counters VALUES (?, ?, 1)", (kind, name))


def _text(data: Any) -> str:
    return to_text(data) if data else "{}"


def _tag(execute: Execute, kind: str, record: str, tags: Fields) -> None:
    for name, value in tags.items():
        execute("INSERT OR REPLACE INTO v1_tags VALUES (?, ?, ?, ?)", (kind, record, name, to_text(value)))


_RUN = ("stack", "parameters", "target", "root", "commit", "dirty", "host", "pid", "steps")


def _run_started(execute: Execute, event: Fields, commit: Commit) -> None:
    run = event["run"]
    body = {name: event[name] for name in _RUN} | {"author": event["author"] or commit.author}
    _count(execute, "run", event["pipeline"], event["number"])
    execute(
        "INSERT INTO v1_runs VALUES (NULL, ?, ?, ?, ?, 1, ?, ?, NULL, ?, NULL, 0, '{}', '{}', NULL, ?)",
        (run, event["number"], event["pipeline"], RUNNING, event["lock"], event["model"], commit.at, to_text(body)),
    )
    _tag(execute, "run", run, event["tags"])


def _run_claimed(execute: Execute, event: Fields, commit: Commit) -> None:
    execute(
        "UPDATE v1_runs SET status = ?, epoch = ?, lock = ?, ended_at = NULL, error = NULL WHERE name = ?",
        (RUNNING, event["epoch"], event["lock"], event["run"]),
    )
    execute("UPDATE v1_steps SET status = ? WHERE run = ? AND status NOT IN (?, ?)", (PENDING, event["run"], *COMPLETE))


def _run_finished(execute: Execute, event: Fields, commit: Commit) -> None:
    run = event["run"]
    model, number = event["model_version"] or (None, None)
    execute(
        """UPDATE v1_runs SET status = ?, ended_at = ?, executed = ?, outputs = ?, error = ?, model_number = ?,
           model = coalesce(?, model) WHERE name = ?""",
        (
            event["status"],
            commit.at,
            event["executed"],
            _text(event["outputs"]),
            to_text(event["error"]),
            number,
            model,
            run,
        ),
    )
    if event["metadata"]:
        _merge(execute, "run", run, event["metadata"])


_STARTED = ("closure", "parameters", "values", "inputs", "input_digests", "reason")
_FINISHED = (*_STARTED, "cached_from", "cached_step", "error", "log", "store", "deterministic")


def _step_started(execute: Execute, event: Fields, commit: Commit) -> None:
    body = to_text({name: event[name] for name in _STARTED})
    execute(
        """INSERT INTO v1_steps VALUES (NULL, ?, ?, ?, ?, ?, NULL, ?, NULL, '{}', '{}', ?)
           ON CONFLICT (run, name) DO UPDATE SET status = excluded.status, attempts = excluded.attempts,
           key = excluded.key, started_at = coalesce(started_at, excluded.started_at), ended_at = NULL,
           body = excluded.body""",
        (event["run"], event["step"], RUNNING, event["attempt"], event["key"], commit.at, body),
    )


def _step_finished(execute: Execute, event: Fields, commit: Commit) -> None:
    run, step, attempts = event["run"], event["step"], event["attempts"]
    execute(
        """INSERT INTO v1_steps VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (run, name) DO UPDATE SET status = excluded.status, attempts = excluded.attempts,
           key = excluded.key, ended = excluded.ended, started_at = coalesce(started_at, excluded.started_at),
           ended_at = excluded.ended_at, outputs = excluded.outputs, metadata = excluded.metadata,
           body = excluded.body""",
        (
            run,
            step,
            event["status"],
            attempts,
            event["key"],
            commit.seq,
            commit.at if attempts else None,
            commit.at,
            _text(event["outputs"]),
            _text(event["metadata"]),
            to_text({name: event[name] for name in _FINISHED}),
        ),
    )
    for name, version in event["inputs"].values():
        execute("INSERT OR IGNORE INTO v1_uses VALUES (?, ?, ?, ?)", (name, version, run, step))


def _artifact_saved(execute: Execute, event: Fields, commit: Commit) -> None:
    name, version = event["name"], event["version"]
    _count(execute, "artifact", name, version)
    execute(
        "INSERT INTO v1_versions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            name,
            version,
            event["kind"],
            event["run"],
            event["step"],
            commit.at,
            to_text(event["manifest"]),
            _text(event["metadata"]),
        ),
    )
    _tag(execute, "artifact", f"{name}@{version}", event["tags"])


def _code_recorded(execute: Execute, event: Fields, commit: Commit) -> None:
    body = to_text([event["members"], event["python"], event["packages"]])
    execute("INSERT OR REPLACE INTO v1_code VALUES (?, ?)", (event["closure"], body))


def _source_recorded(execute: Execute, event: Fields, commit: Commit) -> None:
    body = to_text([event["name"], event["text"]])
    execute("INSERT OR REPLACE INTO v1_sources VALUES (?, ?)", (event["digest"], body))


def _know_model(execute: Execute, model: str) -> None:
    execute("INSERT OR IGNORE INTO v1_models VALUES (?, '', '{}')", (model,))


def _model_declared(execute: Execute, event: Fields, commit: Commit) -> None:
    _know_model(execute, event["model"])
    execute("UPDATE v1_models SET description = ? WHERE name = ?", (event["description"], event["model"]))
    _tag(execute, "model", event["model"], event["tags"])


def _model_version_created(execute: Execute, event: Fields, commit: Commit) -> None:
    model, number = event["model"], event["number"]
    _know_model(execute, model)
    _count(execute, "model", model, number)
    execute(
        "INSERT INTO v1_model_versions VALUES (?, ?, ?, ?, ?, 0, '{}')",
        (model, number, event["name"], event["run"], commit.at),
    )
    _tag(execute, "model_version", f"{model}@{number}", event["tags"])


def _linked(execute: Execute, event: Fields, commit: Commit) -> None:
    _know_model(execute, event["model"])
    number = MODEL_ITSELF if event["number"] is None else event["number"]
    link = (event["model"], event["artifact"], event["version"], number, event["role"])
    execute("INSERT OR IGNORE INTO v1_links VALUES (?, ?, ?, ?, ?)", link)


def _stage_moved(execute: Execute, event: Fields, commit: Commit) -> None:
    model, stage, number = event["model"], event["stage"], event["number"]
    execute(
        "INSERT INTO v1_moves VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
        (model, stage, number, event["previous"], commit.at, commit.author, event["action"], to_text(event["reason"])),
    )
    execute("DELETE FROM v1_stages WHERE model = ? AND stage = ?", (model, stage))
    if number is not None:
        execute("INSERT INTO v1_stages VALUES (?, ?, ?)", (model, stage, number))
    held = (
        "EXISTS (SELECT 1 FROM v1_stages WHERE model = v1_model_versions.model AND number = v1_model_versions.number)"
    )
    execute(
        f"UPDATE v1_model_versions SET archived = NOT {held} WHERE model = ? AND number IN (?, ?)",
        (model, number, event["previous"]),
    )


_HOMES = {
    "run": "v1_runs WHERE name = ?",
    "step": "v1_steps WHERE run = ? AND name = ?",
    "artifact": "v1_versions WHERE name = ? AND version = ?",
    "model": "v1_models WHERE name = ?",
    "model_version": "v1_model_versions WHERE model = ? AND number = ?",
}


def _merge(execute: Execute, kind: str, record: str, values: Fields) -> None:
    """Add to the metadata of a record."""
    home, key = _HOMES[kind], split_address(kind, record)
    row = execute(f"SELECT metadata FROM {home}", key).fetchone()
    if row is not None:
        merged = to_text({**json.loads(row[0]), **values})
        execute(f"UPDATE {home.replace(' WHERE', ' SET metadata = ? WHERE')}", (merged, *key))


def _metadata_logged(execute: Execute, event: Fields, commit: Commit) -> None:
    _merge(execute, event["kind"], event["record"], event["values"])


def _tagged(execute: Execute, event: Fields, commit: Commit) -> None:
    _tag(execute, event["kind"], event["record"], event["tags"])


def _untagged(execute: Execute, event: Fields, commit: Commit) -> None:
    for name in event["tags"]:
        key = (event["kind"], event["record"], name)
        execute("DELETE FROM v1_tags WHERE kind = ? AND record = ? AND name = ?", key)


_PROJECTIONS: dict[str, Callable[[Execute, Fields, Commit], None]] = {
    RunStarted.TYPE: _run_started,
    RunClaimed.TYPE: _run_claimed,
    RunFinished.TYPE: _run_finished,
    StepStarted.TYPE: _step_started,
    StepFinished.TYPE: _step_finished,
    ArtifactSaved.TYPE: _artifact_saved,
    CodeRecorded.TYPE: _code_recorded,
    SourceRecorded.TYPE: _source_recorded,
    ModelDeclared.TYPE: _model_declared,
    ModelVersionCreated.TYPE: _model_version_created,
    Linked.TYPE: _linked,
    StageMoved.TYPE: _stage_moved,
    MetadataLogged.TYPE: _metadata_logged,
    Tagged.TYPE: _tagged,
    Untagged.TYPE: _untagged,
}
