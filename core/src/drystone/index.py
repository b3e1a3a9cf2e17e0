"""The index: what the ledger says, in tables that answer questions at once. It can be thrown away and made again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from drystone.artifacts import LATEST
from drystone.errors import LedgerDamagedError
from drystone.ledgers import Commit, Head, SQLiteLedger
from drystone.models import SHARED
from drystone.projections import MODEL_ITSELF, create_tables, project, table_names


class Index:
    """The tables, and the questions that whoever decides about a commit may ask of them.

    Inside `Workspace.commit` this is the view on which events are decided: nobody else commits meanwhile.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    def create(self) -> None:
        """Make the tables where they are missing."""
        if not table_names(self._connection):
            create_tables(self._connection)

    def clear(self) -> None:
        """Empty it, so that `catch_up` fills it anew."""
        for name in table_names(self._connection):
            self._execute(f"DROP TABLE {name}")
        create_tables(self._connection)

    def apply(self, commit: Commit) -> None:
        """Enter the commit that follows the last one entered."""
        project(self._connection, commit)

    def catch_up(self, ledger: SQLiteLedger) -> Head:
        """Enter what the ledger has and the index has not; returns the ledger's head.

        Raises:
            LedgerDamagedError: The ledger has lost or changed commits that were entered here.
        """
        head = ledger.head()
        seq, digest = self.position()
        if (seq, digest) == (head.seq, head.digest):
            return head
        if seq >= head.seq:
            raise LedgerDamagedError(
                f"The ledger ends with commit {head.seq}, but commit {seq} was there before: commits are missing or "
                "altered. Restore the workspace from a backup; `drystone workspace verify` lists what is wrong, and "
                "`drystone workspace rebuild` accepts the ledger as it is."
            )
        for commit in ledger.read(seq):
            if commit.seq == seq + 1 and commit.prev != digest:
                raise LedgerDamagedError(f"Commit {seq} of the ledger is not the one that was entered here: altered.")
            self.apply(commit)
        return ledger.head()

    def position(self) -> tuple[int, str]:
        """Number and digest of the last commit that was entered."""
        seq, digest = self._execute("SELECT seq, digest FROM v1_position").fetchone()
        return seq, digest

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, to compare two indices."""
        return {
            name: sorted(self._execute(f"SELECT * FROM {name}"), key=repr) for name in table_names(self._connection)
        }

    def _one(self, query: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        row = self._execute(query, values).fetchone()
        return row[0] if row else None

    def last_number(self, kind: str, name: str) -> int:
        """The highest number given so far: of kind `run` to a pipeline, `artifact` or `model`; 0 if none was."""
        return self._one("SELECT value FROM v1_counters WHERE kind = ? AND name = ?", kind, name) or 0

    def next_run_number(self, pipeline: str) -> int:
        """The number of the next run of a pipeline."""
        return self.last_number("run", pipeline) + 1

    def next_version(self, artifact: str) -> int:
        """The next version of an artifact. It stays the same until that version is committed."""
        return self.last_number("artifact", artifact) + 1

    def next_model_number(self, model: str) -> int:
        """The next version of a model."""
        return self.last_number("model", model) + 1

    def run_status(self, run: str) -> str | None:
        """The status of a run; None if there is no such run."""
        status: str | None = self._one("SELECT status FROM v1_runs WHERE name = ?", run)
        return status

    def run_epoch(self, run: str) -> int:
        """How often a run was started and claimed; 0 if there is no such run."""
        return self._one("SELECT epoch FROM v1_runs WHERE name = ?", run) or 0

    def running(self) -> list[tuple[str, str, int]]:
        """Name, lock and epoch of every run that is said to be running."""
        return self._execute("SELECT name, lock, epoch FROM v1_runs WHERE status = 'running' ORDER BY id").fetchall()

    def unfinished_steps(self, run: str) -> list[tuple[str, int, str | None, dict[str, Any]]]:
        """Name, attempts, key and the rest of every step of a run that is said to be running."""
        query = "SELECT name, attempts, key, body FROM v1_steps WHERE run = ? AND status = 'running' ORDER BY id"
        return [(name, attempts, key, json.loads(body)) for name, attempts, key, body in self._execute(query, (run,))]

    def executed(self, run: str) -> int:
        """How many steps of a run computed something, or tried to."""
        query = "SELECT count(*) FROM v1_steps WHERE run = ? AND attempts > 0 AND status <> 'cached'"
        return self._one(query, run) or 0

    def run_model(self, run: str) -> str | None:
        """The model a run belongs to."""
        model: str | None = self._one("SELECT model FROM v1_runs WHERE name = ?", run)
        return model

    def blobs(self) -> Iterator[tuple[str, str, str, int | None]]:
        """What every blob belongs to, its store, its digest, and its size if that is known."""
        for name, version, text in self._execute("SELECT name, version, manifest FROM v1_versions ORDER BY id"):
            manifest = json.loads(text)
            for blob in manifest["blobs"]:
                yield f"{name}@{version}", manifest["store"], blob["digest"], blob["size"]
        for run, name, text in self._execute("SELECT run, name, body FROM v1_steps ORDER BY id"):
            body = json.loads(text)
            if body.get("log"):
                yield f"the log of {run}/{name}", body["store"], body["log"], None

    def has_code(self, closure: str) -> bool:
        """Whether a code closure is recorded."""
        return self._one("SELECT 1 FROM v1_code WHERE closure = ?", closure) is not None

    def has_source(self, digest: str) -> bool:
        """Whether the text of a closure's member is recorded."""
        return self._one("SELECT 1 FROM v1_sources WHERE digest = ?", digest) is not None

    def model_declared(self, model: str, description: str | None = None) -> bool:
        """Whether a model is known, with this description if one is given."""
        known = self._one("SELECT description FROM v1_models WHERE name = ?", model)
        return known is not None and description in (None, known)

    def model_version_exists(self, model: str, number: int) -> bool:
        """Whether a model has this version."""
        return self._one("SELECT 1 FROM v1_model_versions WHERE model = ? AND number = ?", model, number) is not None

    def model_version_status(self, model: str, number: int) -> str:
        """The status of the run that made a version; made by hand, it counts as succeeded."""
        query = """SELECT r.status FROM v1_model_versions m JOIN v1_runs r ON r.name = m.run
                   WHERE m.model = ? AND m.number = ?"""
        return self._one(query, model, number) or "succeeded"

    def model_version_of_run(self, model: str, run: str) -> int | None:
        """The version of a model that a run made, or whose outputs it repeated."""
        made = self._one("SELECT number FROM v1_model_versions WHERE run = ? AND model = ?", run, model)
        repeated = "SELECT model_number FROM v1_runs WHERE name = ? AND model = ?"
        number: int | None = made if made is not None else self._one(repeated, run, model)
        return number

    def linked(self, model: str, number: int | None, artifact: str, version: int) -> bool:
        """Whether an artifact version is linked to a model version, or with number None to the model itself."""
        query = "SELECT 1 FROM v1_links WHERE model = ? AND artifact = ? AND version = ? AND number = ?"
        return self._one(query, model, artifact, version, MODEL_ITSELF if number is None else number) is not None

    def newest_linked(self, model: str, number: int | None, artifact: str, version: int | str = LATEST) -> int | None:
        """The newest version of an artifact, or this one, linked to a model version; with None anywhere in the model.

        What a version's runs produced goes before what they consumed.
        """
        linked: int | None = self._one(
            """SELECT version FROM v1_links WHERE model = ? AND artifact = ? AND coalesce(number = ?, 1)
               AND (? = 'latest' OR version = ?) ORDER BY ? IS NOT NULL AND role = 'output' DESC, version DESC""",
            *(model, artifact, number, version, version, number),
        )
        return linked

    def linked_names(self, model: str, number: int | None) -> list[str]:
        """The artifacts linked to a model version, or with None anywhere in the model."""
        query = "SELECT DISTINCT artifact FROM v1_links WHERE model = ? AND coalesce(number = ?, 1) ORDER BY artifact"
        return [name for (name,) in self._execute(query, (model, number))]

    def code(self, closure: str) -> tuple[dict[str, str], str, dict[str, str]] | None:
        """Members, Python version and packages of a recorded closure."""
        body = self._one("SELECT body FROM v1_code WHERE closure = ?", closure)
        return tuple(json.loads(body)) if body else None

    def source(self, digest: str) -> tuple[str, str] | None:
        """Name and text of a recorded member of a closure."""
        body = self._one("SELECT body FROM v1_sources WHERE digest = ?", digest)
        return tuple(json.loads(body)) if body else None

    def counts(self) -> dict[str, int]:
        """How many records there are."""
        tables = {"runs": "v1_runs", "artifact_versions": "v1_versions", "models": "v1_models"}
        return {name: self._one(f"SELECT count(*) FROM {table}") for name, table in tables.items()}

    def stage_holder(self, model: str, stage: str) -> int | None:
        """The version that holds a stage now."""
        holder: int | None = self._one("SELECT number FROM v1_stages WHERE model = ? AND stage = ?", model, stage)
        return holder

    def stage_moves(self, model: str, stage: str | None = None) -> list[tuple[Any, ...]]:
        """Moves of a stage, or of all, the oldest first: stage, number, previous, at, author, action, reason."""
        return self._execute(
            """SELECT stage, number, previous, at, author, action, reason FROM v1_moves
               WHERE model = ? AND (? IS NULL OR stage = ?) ORDER BY id""",
            (model, stage, stage),
        ).fetchall()

    def known_stages(self, model: str) -> set[str]:
        """Every stage that a version of the model holds or has held."""
        return {stage for (stage,) in self._execute("SELECT DISTINCT stage FROM v1_moves WHERE model = ?", (model,))}

    def select_version(self, model: str, selector: int | str) -> int | None:
        """The number that a number, `latest`, a stage or a version's name means now; None if there is none."""
        if isinstance(selector, int) or selector.isdigit():
            return int(selector) if self.model_version_exists(model, int(selector)) else None
        if selector == "latest":
            query = """SELECT m.number FROM v1_model_versions m LEFT JOIN v1_runs r ON r.name = m.run
                       WHERE m.model = ? AND coalesce(r.status, 'succeeded') = 'succeeded' ORDER BY m.number DESC"""
            latest: int | None = self._one(query, model)
            return latest
        holder = self.stage_holder(model, selector)
        query = "SELECT max(number) FROM v1_model_versions WHERE model = ? AND name = ?"
        found: int | None = holder if holder is not None else self._one(query, model, selector)
        return found


def of_whole_model(selector: int | str | None) -> bool:
    """Whether a selector means the model itself rather than one version."""
    return selector is None or selector == SHARED
