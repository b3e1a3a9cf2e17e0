"""The index: what the ledger says, in documents that answer questions at once. It can be thrown away and made again."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

from drystone.artifacts import LATEST
from drystone.documents import Document, Documents
from drystone.errors import LedgerDamagedError
from drystone.ledgers import Commit, Head, SQLiteLedger
from drystone.models import COMMON_STAGES
from drystone.projections import impossible, project
from drystone.runs import RUNNING, SUCCEEDED


class Index(Documents):
    """The documents, and the questions that whoever decides about a commit may ask of them.

    Inside `Workspace.commit` this is the view on which events are decided: nobody else commits meanwhile.
    """

    def position(self) -> tuple[int, str]:
        """Number and digest of the last commit that was entered."""
        seq, digest = self._execute("SELECT seq, digest FROM v4_position").fetchone()
        return seq, digest

    def is_behind(self, ledger: SQLiteLedger) -> bool:
        """Whether the ledger does not end with the last commit that was entered."""
        head = ledger.head()
        return self.position() != (head.seq, head.digest)

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
            self.enter(ledger.counted(commit))
        return ledger.head()

    def enter(self, commit: Commit) -> None:
        """Enter the commit of a ledger that follows the last one entered.

        Raises:
            LedgerDamagedError: It names what is no text; who says so of his own has merely mistyped it.
        """
        try:
            self.apply(commit)
        except UnicodeEncodeError as exc:
            raise impossible(commit, exc) from exc

    def apply(self, commit: Commit) -> None:
        """Enter the commit that follows the last one entered, which may not be in the ledger yet."""
        project(self, commit)
        self._execute("UPDATE v4_position SET seq = ?, digest = ?", (commit.seq, commit.digest))

    def epoch(self, run: str) -> int:
        """How often a run was started and claimed; 0 if there is no such run."""
        return self._one("SELECT epoch FROM v4_documents WHERE kind = 'run' AND name = ?", run) or 0

    def is_driven(self, run: str, epoch: int) -> bool:
        """Whether a run is running, and was not claimed since."""
        query = "SELECT status = 'running' AND epoch = ? FROM v4_documents WHERE kind = 'run' AND name = ?"
        return bool(self._one(query, epoch, run))

    def running(self) -> list[Document]:
        """Every run that is said to be running."""
        rows = self._execute("SELECT body FROM v4_documents WHERE kind = 'run' AND status = 'running' ORDER BY id")
        return [json.loads(body) for (body,) in rows]

    def is_being_made(self, key: str) -> bool:
        """Whether a step with this key is running in a run whose driver, as far as is known, lives."""
        query = "SELECT run FROM v4_documents WHERE kind = 'step' AND status = 'running' AND key = ?"
        runs = [run for (run,) in self._execute(query, (key,)).fetchall()]
        return any((self.get("run", run) or {}).get("status") == RUNNING for run in runs)

    def was_made(self, key: str, since: int) -> bool:
        """Whether a step with this key has succeeded since the commit of a number."""
        query = """SELECT 1 FROM v4_documents WHERE key = ? AND status = 'succeeded' AND +kind = 'step' AND ended > ?
                   LIMIT 1"""
        return self._one(query, key, since) is not None

    def steps(self, run: str) -> list[Document]:
        """The steps of a run that have begun or ended, in that order."""
        return self.select("step", {"run": run}, order="id")

    def elements(self, run: str, step: str) -> list[Document]:
        """The elements of a map that have ended, in their order."""
        return self.select("element", {"parent": f"{run}/{step}"}, order="number")

    def counts(self, run: str, step: str) -> dict[str, int]:
        """How many elements of a map have ended how."""
        query = "SELECT status, count(*) FROM v4_documents WHERE kind = 'element' AND parent = ? GROUP BY status"
        return dict(self._execute(query, (f"{run}/{step}",)).fetchall())

    def cached(self, kind: str, key: str) -> Document | None:
        """The step, or the element of a map, that last succeeded under a key."""
        query = """SELECT body FROM v4_documents WHERE key = ? AND status = 'succeeded' AND +kind = ?
                   ORDER BY ended DESC LIMIT 1"""
        body = self._one(query, key, kind)
        return json.loads(body) if body else None

    def same_result(self, key: str | None, artifact: str, digest: str) -> int | None:
        """The version of an artifact that a cached step with this key was given for this content."""
        number: int | None = self._one(
            """SELECT l.version FROM v4_links l JOIN v4_documents d ON d.kind = 'artifact'
               AND d.name = l.name || '@' || l.version WHERE l.kind = 'key' AND l.owner = ? AND l.name = ?
               AND json_extract(d.body, '$.manifest.digest') = ? ORDER BY l.version DESC LIMIT 1""",
            *(key, artifact, digest),
        )
        return number

    def last_execution(self, pipeline: str, step: str) -> Document | None:
        """The step as it last was complete in a run of a pipeline."""
        return next(iter(self._complete(pipeline, step, 1)), None)

    def _complete(self, pipeline: str, step: str, limit: int) -> list[Document]:
        query = """SELECT body FROM v4_documents WHERE parent = ? AND kind = 'step'
                   AND status IN ('succeeded', 'cached') ORDER BY ended DESC LIMIT ?"""
        return [json.loads(body) for (body,) in self._execute(query, (f"{pipeline}/{step}", limit))]

    def durations(self, pipeline: str, step: str, limit: int = 5) -> list[float]:
        """Seconds that the last executions of a step took; hits count as the execution that they lead to, once."""
        found: dict[str, Document] = {}
        for body in self._complete(pipeline, step, 2 * limit):
            name = f"{body.get('cached_from') or body['run']}/{body.get('cached_step') or body['name']}"
            found[name] = found.get(name) or (self.get("step", name) if body.get("cached_from") else body) or {}
        timed = [each for each in found.values() if each.get("started_at") and each.get("ended_at")]
        moments = [map(datetime.datetime.fromisoformat, (each["started_at"], each["ended_at"])) for each in timed]
        return [(ended - begun).total_seconds() for begun, ended in moments[:limit]]

    def version_of_run(self, model: str, run: str) -> int | None:
        """The version of a model that a run made, or whose outputs it repeated."""
        made = self.version_made(model, run)
        repeated, number = (self.get("run", run) or {}).get("model_version") or (None, None)
        return number if made is None and repeated == model else made

    def version_made(self, model: str, run: str) -> int | None:
        """The version of a model that a run made."""
        made = self.select("model_version", {"run": run, "model": model}, limit=1)
        return made[0]["number"] if made else None

    def version_status(self, model: str, number: int) -> str:
        """The status of the run that made a model version; made by hand, it counts as succeeded."""
        version = self.get("model_version", f"{model}@{number}")
        run = self.get("run", version["run"]) if version and version["run"] else None
        return str(run["status"]) if run else SUCCEEDED

    def select_version(self, model: str, selector: int | str) -> int | None:
        """The number that a number, `latest`, a stage or a version's name means now; None if there is none."""
        if isinstance(selector, int) or selector.isdecimal():
            return int(selector) if self.exists("model_version", f"{model}@{int(selector)}") else None
        if selector == LATEST:
            return self._latest(model)
        holder: int | None = self.stages(model).get(selector)
        if holder is not None or selector in COMMON_STAGES:
            return holder  # a name cannot take the place of a stage that nobody has held yet: it needs no grant
        named = self.get("version_name", f"{model}@{selector}")
        return named["number"] if named else None

    def _latest(self, model: str) -> int | None:
        number: int | None = self._one(
            """SELECT v.number FROM v4_documents v LEFT JOIN v4_documents r ON r.kind = 'run' AND r.name = v.run
               WHERE v.kind = 'model_version' AND v.parent = ? AND coalesce(r.status, ?) = ?
               ORDER BY v.number DESC LIMIT 1""",
            *(model, SUCCEEDED, SUCCEEDED),
        )
        return number

    def stages(self, model: str) -> dict[str, int]:
        """Who holds which stage of a model."""
        stages: dict[str, int] = (self.get("model", model) or {"stages": {}})["stages"]
        return stages

    def moves(self, model: str, stage: str | None = None) -> list[Document]:
        """The moves of a stage, or of all stages of a model, the oldest first."""
        return self.select("move", {"parent": model, "stage": stage}, order="number")

    def linked(self, model: str, number: int | None) -> list[tuple[str, str, int]]:
        """Role (`output`, `input`, `run`), name and version of what belongs to a model version; with None to any."""
        of_number = () if number is None else (number,)
        query = f"""SELECT role, name, version FROM v4_links WHERE kind = 'model' AND owner = ?
                    {"AND number = ?" * len(of_number)} ORDER BY name, version"""
        return self._execute(query, (model, *of_number)).fetchall()

    def newest_linked(self, model: str, number: int | None, artifact: str, version: int | str = LATEST) -> int | None:
        """The newest version of an artifact, or this one, linked to a model version; with None anywhere in the model.

        What a version's runs produced goes before what they consumed.
        """
        given: dict[str, Any] = {"number": number, "version": None if version == LATEST else version}
        given = {"owner": model, "name": artifact} | {name: each for name, each in given.items() if each is not None}
        produced_first = "role = 'output' DESC," if number is not None else ""
        linked: int | None = self._one(
            f"""SELECT version FROM v4_links WHERE {" AND ".join(f"{name} = ?" for name in given)}
                AND kind = 'model' AND role <> 'run' ORDER BY {produced_first} version DESC LIMIT 1""",
            *given.values(),
        )
        return linked

    def users(self, artifact: str, version: int) -> list[str]:
        """The steps that read an artifact version, as `training-3/fit`."""
        query = "SELECT owner FROM v4_links WHERE name = ? AND version = ? AND kind = 'step' ORDER BY owner"
        return [owner for (owner,) in self._execute(query, (artifact, version))]

    def missed(self, store: str) -> set[str]:
        """Digests of blobs that a store should hold, and did not when somebody looked."""
        return {each["digest"] for each in self.select("missed", {"parent": store})}

    def blobs(self) -> Iterator[tuple[str, tuple[str, ...], str, int | None]]:
        """What every blob belongs to, the stores that should hold it, its digest, and its size if that is known."""
        query = "SELECT name, body FROM v4_documents WHERE kind = ? ORDER BY id"
        for kind in ("step", "element"):
            for name, body in self._execute(query, (kind,)):
                step = json.loads(body)
                for attempt in (*step.get("failed_attempts", ()), step):
                    if attempt.get("log"):
                        yield f"the log of {name}", (attempt["store"],), attempt["log"], None
                for part in step.get("outputs", {}).values() if kind == "element" else ():
                    yield from _blobs(name, part)
        for name, body in self._execute(query, ("artifact",)):
            yield from _blobs(name, json.loads(body)["manifest"])


def _blobs(name: str, manifest: Document) -> Iterator[tuple[str, tuple[str, ...], str, int | None]]:
    for blob in manifest["blobs"]:
        yield name, (manifest["store"], *manifest.get("copies", ())), blob["digest"], blob["size"]
