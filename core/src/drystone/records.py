"""Rows of the index as the frozen records that users hold."""

from __future__ import annotations

import datetime
import difflib
import functools
import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from drystone.artifacts import LATEST, ArtifactVersion, Blob, Manifest, Source
from drystone.errors import NotFoundError, suggestion
from drystone.events import Pair
from drystone.models import ModelRecord, ModelVersion, StageMove
from drystone.runs import PENDING, SUCCEEDED, Code, Run, StepRun
from drystone.serialization import to_text, to_time


@attrs.frozen
class CachedStep:
    """The newest stored result under a key: which run made it, and what it made and logged."""

    run: str
    step: str
    outputs: Mapping[str, ArtifactVersion]
    metadata: Mapping[str, Any]
    ended_at: datetime.datetime


@attrs.frozen
class Execution:
    """What the newest complete run of a step was made of, to say what has changed since."""

    run: str
    key: str | None
    closure: str | None
    values: Mapping[str, str]
    parameters: Mapping[str, str]
    input_digests: Mapping[str, str]
    inputs: Mapping[str, Pair]


def _tags(kind: str, record: str) -> str:
    return (
        "(SELECT json_group_object(t.name, json(t.value)) FROM v1_tags t "
        f"WHERE t.kind = '{kind}' AND t.record = {record})"
    )


_VERSION = f"""SELECT v.name, v.version, v.kind, v.manifest, v.metadata, v.created_at, v.run, v.step,
               {_tags("artifact", "v.name || '@' || v.version")} FROM"""
_ONE_VERSION = f"{_VERSION} v1_versions v WHERE v.name = ? AND v.version = ?"
_RUN = f"""SELECT name, number, pipeline, status, started_at, ended_at, executed, outputs, metadata, error, body, model,
           model_number, {_tags("run", "r.name")} FROM v1_runs r"""
_STEP = """SELECT s.run, s.name, s.status, s.attempts, s.started_at, s.ended_at, s.outputs, s.metadata, s.body FROM"""
_MODEL_VERSION = f"""SELECT m.model, m.number, m.name, m.run, m.created_at, m.archived, m.metadata, r.status,
                     {_tags("model_version", "m.model || '@' || m.number")}
                     FROM v1_model_versions m LEFT JOIN v1_runs r ON r.name = m.run"""
_MODEL = f"""SELECT m.name, m.description, {_tags("model", "m.name")},
             (SELECT count(*) FROM v1_model_versions v WHERE v.model = m.name),
             (SELECT max(v.number) FROM v1_model_versions v LEFT JOIN v1_runs r ON r.name = v.run
              WHERE v.model = m.name AND coalesce(r.status, '{SUCCEEDED}') = '{SUCCEEDED}'),
             (SELECT json_group_object(s.stage, s.number) FROM v1_stages s WHERE s.model = m.name) FROM v1_models m"""


class Conditions:
    """What the rows of a listing must fulfil; conditions on None do not count."""

    def __init__(self) -> None:
        self.clauses: list[str] = []
        self.values: list[Any] = []

    def equal(self, column: str, value: Any) -> None:
        """A column has a value."""
        if value is not None:
            self.clauses.append(f"{column} = ?")
            self.values.append(value)

    def tagged(self, kind: str, record: str, tag: str | None) -> None:
        """A record has a tag, `name` or `name=value`."""
        if tag is None:
            return
        name, keyed, value = tag.partition("=")
        match = " AND t.value = ?" if keyed else ""
        self.clauses.append(
            f"EXISTS (SELECT 1 FROM v1_tags t WHERE t.kind = ? AND t.record = {record} AND t.name = ?{match})"
        )
        self.values.extend([kind, name, *([to_text(value)] if keyed else [])])

    def listing(self, order: str, limit: int | None) -> tuple[str, list[Any]]:
        """The end of the query, with its values."""
        where = f" WHERE {' AND '.join(self.clauses)}" if self.clauses else ""
        return f"{where} ORDER BY {order} LIMIT ?", [*self.values, -1 if limit is None else limit]


class Records:
    """Makes records out of an index; each record can ask the source for more."""

    def __init__(self, connection: sqlite3.Connection, source: Source) -> None:
        self._execute = connection.execute
        self._source = source

    def run(self, name: str) -> Run:
        """One run.

        Raises:
            NotFoundError: There is none of that name.
        """
        rows = self._execute(f"{_RUN} WHERE name = ?", (name,)).fetchall()
        if not rows:
            raise _unknown("run", name, [row[0] for row in self._execute("SELECT name FROM v1_runs ORDER BY id DESC")])
        return self._runs(rows)[0]

    def runs(self, conditions: Conditions, limit: int | None) -> list[Run]:
        """Runs, the newest first."""
        end, values = conditions.listing("id DESC", limit)
        return self._runs(self._execute(f"{_RUN}{end}", values).fetchall())

    def versions(self, pairs: Iterable[Pair]) -> dict[Pair, ArtifactVersion]:
        """Artifact versions by name and number; what does not exist is left out."""
        rows = [self._execute(_ONE_VERSION, pair).fetchone() for pair in {tuple(pair): None for pair in pairs}]
        return {(row[0], row[1]): self._version(row) for row in rows if row is not None}

    def artifact(self, name: str, version: int | str = LATEST) -> ArtifactVersion:
        """One version of an artifact.

        Raises:
            NotFoundError: There is none of that name or number; the message says what there is.
        """
        highest = self._execute("SELECT max(version) FROM v1_versions WHERE name = ?", (name,)).fetchone()[0]
        if highest is None:
            rows = self._execute("SELECT name FROM v1_counters WHERE kind = 'artifact'")
            raise _unknown("artifact", name, [row[0] for row in rows])
        number = highest if version == LATEST else int(version)
        found = self.versions([(name, number)]).get((name, number))
        if found is None:
            raise NotFoundError(f"Artifact {name!r} has no version {version}. Its newest is {highest}.")
        return found

    def artifacts(self, conditions: Conditions, limit: int | None) -> list[ArtifactVersion]:
        """Artifact versions, the newest first."""
        end, values = conditions.listing("v.id DESC", limit)
        return [self._version(row) for row in self._execute(f"{_VERSION} v1_versions v{end}", values)]

    def models(self, conditions: Conditions, limit: int | None) -> list[ModelRecord]:
        """Models, by name."""
        end, values = conditions.listing("m.name", limit)
        return [
            ModelRecord(
                name=name,
                description=description,
                tags=json.loads(tags),
                latest=latest,
                versions=versions,
                stages=json.loads(stages),
            )
            for name, description, tags, versions, latest, stages in self._execute(f"{_MODEL}{end}", values)
        ]

    def model_versions(self, conditions: Conditions, limit: int | None) -> list[ModelVersion]:
        """Model versions, the newest first."""
        end, values = conditions.listing("m.number DESC", limit)
        rows = self._execute(f"{_MODEL_VERSION}{end}", values).fetchall()
        links = {(row[0], row[1]): self._links(row[0], row[1]) for row in rows}
        found = self.versions(pair for roles in links.values() for linked in roles.values() for pair in linked)
        return [self._model_version(row, links[row[0], row[1]], found) for row in rows]

    def model_version(self, model: str, number: int) -> ModelVersion:
        """One version of a model, which must exist."""
        conditions = Conditions()
        conditions.equal("m.model", model)
        conditions.equal("m.number", number)
        return self.model_versions(conditions, 1)[0]

    def steps(self, runs: Iterable[str]) -> dict[str, dict[str, StepRun]]:
        """The steps of some runs, in order, by run and name."""
        query = f"{_STEP} json_each(?) j CROSS JOIN v1_steps s ON s.run = j.value ORDER BY s.id"
        return self._steps(self._execute(query, (to_text(list(runs)),)))

    def _steps(self, rows: Iterable[Any]) -> dict[str, dict[str, StepRun]]:
        parsed = [(row, json.loads(row[6]), json.loads(row[8])) for row in rows]
        found = self.versions(
            tuple(pair) for _, outputs, body in parsed for pair in (*outputs.values(), *body.get("inputs", {}).values())
        )
        steps: dict[str, dict[str, StepRun]] = {}
        for row, outputs, body in parsed:
            steps.setdefault(row[0], {})[row[1]] = self._step(row, outputs, body, found)
        return steps

    def _ordered(self, run: str, planned: Iterable[str], steps: Mapping[str, StepRun]) -> dict[str, StepRun]:
        """Steps as planned, those that have not started pending; then any that were not planned."""
        waiting = {name: StepRun(name=name, run=run, status=PENDING, source=self._source) for name in planned}
        return {**waiting, **steps}

    def cached_step(self, key: str, newer_than: datetime.datetime | None) -> CachedStep | None:
        """The newest successful step with this key."""
        row = self._execute(
            """SELECT run, name, outputs, metadata, ended_at FROM v1_steps
               WHERE key = ? AND status = 'succeeded' AND ended_at >= ? ORDER BY ended DESC LIMIT 1""",
            (key, to_time(newer_than.astimezone(datetime.UTC)) if newer_than else ""),
        ).fetchone()
        if row is None:
            return None
        run, step, outputs, metadata, ended_at = row
        pairs = json.loads(outputs)
        return CachedStep(
            run, step, _resolved(pairs, self.versions(pairs.values())), json.loads(metadata), _time(ended_at)
        )

    def last_execution(self, pipeline: str, step: str) -> Execution | None:
        """What the newest complete run of a step was made of."""
        row = self._execute(
            """SELECT s.run, s.key, s.body FROM v1_runs r CROSS JOIN v1_steps s ON s.run = r.name AND s.name = ?
               WHERE r.pipeline = ? AND s.status IN ('succeeded', 'cached') ORDER BY r.id DESC LIMIT 1""",
            (step, pipeline),
        ).fetchone()
        if row is None:
            return None
        body = json.loads(row[2])
        inputs = {place: (name, version) for place, (name, version) in body["inputs"].items()}
        return Execution(
            row[0], row[1], body["closure"], body["values"], body["parameters"], body["input_digests"], inputs
        )

    def keyed_steps(self, run: str) -> dict[str, tuple[str | None, Mapping[str, ArtifactVersion]]]:
        """Key and outputs of the complete steps of a run."""
        query = "SELECT name, key, outputs FROM v1_steps WHERE run = ? AND status IN ('succeeded', 'cached')"
        rows = [(name, key, json.loads(outputs)) for name, key, outputs in self._execute(query, (run,))]
        found = self.versions(tuple(pair) for _, _, outputs in rows for pair in outputs.values())
        return {name: (key, _resolved(outputs, found)) for name, key, outputs in rows}

    def uses(self, version: ArtifactVersion) -> list[tuple[str, str]]:
        """Run and step of everything that read an artifact version."""
        query = "SELECT run, step FROM v1_uses WHERE artifact = ? AND version = ? ORDER BY run, step"
        return self._execute(query, (version.name, version.version)).fetchall()

    def step(self, run: str, name: str) -> StepRun:
        """One step of a run, which must exist."""
        return self._steps(self._execute(f"{_STEP} v1_steps s WHERE s.run = ? AND s.name = ?", (run, name)))[run][name]

    def stage_moves(self, moves: Iterable[tuple[Any, ...]], model: str) -> list[StageMove]:
        """Moves of a model's stages as records."""
        return [
            StageMove(
                model=model,
                stage=stage,
                number=number,
                previous=previous,
                at=_time(at),
                author=author,
                action=action,
                reason=json.loads(reason),
            )
            for stage, number, previous, at, author, action, reason in moves
        ]

    def _version(self, row: Any) -> ArtifactVersion:
        name, version, kind, manifest, metadata, created_at, run, step, tags = row
        return ArtifactVersion(
            name=name,
            version=version,
            kind=kind,
            manifest=_manifest(manifest),
            metadata=json.loads(metadata),
            tags=json.loads(tags),
            created_at=_time(created_at),
            produced_by=(run, step) if run else None,
            source=self._source,
        )

    def _runs(self, rows: list[Any]) -> list[Run]:
        steps = self.steps(row[0] for row in rows)
        found = self.versions(tuple(pair) for row in rows for pair in json.loads(row[7]).values())
        return [self._run(row, steps.get(row[0], {}), found) for row in rows]

    def _run(self, row: Any, steps: Mapping[str, StepRun], found: Mapping[Pair, ArtifactVersion]) -> Run:
        name, number, pipeline, status, started, ended, executed, outputs, metadata, error, text, *model, tags = row
        body = json.loads(text)
        return Run(
            name=name,
            number=number,
            pipeline=pipeline,
            status=status,
            stack=body["stack"],
            parameters=body["parameters"],
            started_at=_time(started),
            ended_at=_time(ended) if ended else None,
            steps=self._ordered(name, body["steps"], steps),
            outputs=_resolved(json.loads(outputs), found),
            model_version=self._version_of_run(name, *model),
            tags=json.loads(tags),
            metadata=json.loads(metadata),
            code=Code(commit=body["commit"], dirty=body["dirty"]),
            executed=executed,
            error=json.loads(error) if error else None,
            target=body["target"],
            root=body["root"],
            author=body["author"],
            host=body["host"],
        )

    def _version_of_run(self, run: str, model: str | None, number: int | None) -> ModelVersion | None:
        if model is not None and number is None:  # a run that goes on, or died, has made it but not reported it
            query = "SELECT number FROM v1_model_versions WHERE run = ? AND model = ?"
            made = self._execute(query, (run, model)).fetchone()
            number = made[0] if made else None
        return self.model_version(model, number) if model is not None and number is not None else None

    def _step(self, row: Any, outputs: Any, body: Any, found: Mapping[Pair, ArtifactVersion]) -> StepRun:
        run, name, status, attempts, started_at, ended_at, _, metadata, _ = row
        return StepRun(
            name=name,
            run=run,
            status=status,
            cached_from=body.get("cached_from"),
            inputs=_resolved(body.get("inputs", {}), found),
            outputs=_resolved(outputs, found),
            parameters=body.get("parameters", {}),
            attempts=attempts,
            metadata=json.loads(metadata),
            error=body.get("error"),
            reason=body.get("reason", ""),
            started_at=_time(started_at) if started_at else None,
            ended_at=_time(ended_at) if ended_at else None,
            log=body.get("log"),
            store=body.get("store", ""),
            source=self._source,
        )

    def _links(self, model: str, number: int) -> dict[str, list[Pair]]:
        """The newest linked version of each artifact, by role."""
        links: dict[str, list[Pair]] = {"output": [], "input": []}
        query = """SELECT role, artifact, max(version) FROM v1_links WHERE model = ? AND number = ?
                   GROUP BY role, artifact"""
        for role, artifact, version in self._execute(query, (model, number)):
            links[role].append((artifact, version))
        return links

    def _model_version(
        self, row: Any, links: Mapping[str, list[Pair]], found: Mapping[Pair, ArtifactVersion]
    ) -> ModelVersion:
        model, number, name, run, created_at, archived, metadata, status, tags = row
        stages = self._execute("SELECT stage FROM v1_stages WHERE model = ? AND number = ?", (model, number))
        users = self._execute(
            "SELECT name FROM v1_runs WHERE model = ? AND model_number = ? ORDER BY id", (model, number)
        )
        return ModelVersion(
            model=model,
            number=number,
            name=name,
            status=status or SUCCEEDED,
            stages=tuple(stage for (stage,) in stages),
            archived=bool(archived),
            metadata=json.loads(metadata),
            tags=json.loads(tags),
            artifacts={pair[0]: found[pair] for pair in links["output"] if pair in found},
            inputs={pair[0]: found[pair] for pair in links["input"] if pair in found},
            runs=tuple({each: None for each in (run, *(user for (user,) in users)) if each}),
            created_at=_time(created_at),
            source=self._source,
        )


def _resolved(pairs: Mapping[str, Any], found: Mapping[Pair, ArtifactVersion]) -> dict[str, ArtifactVersion]:
    return {place: found[name, version] for place, (name, version) in pairs.items() if (name, version) in found}


@functools.lru_cache(4096)
def _manifest(text: str) -> Manifest:
    data = json.loads(text)
    blobs = tuple(Blob(**blob) for blob in data["blobs"])
    return Manifest(**{**data, "blobs": blobs, "trusted": tuple(data["trusted"])})


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def _unknown(kind: str, name: str, known: list[str]) -> NotFoundError:
    """The error for an unknown name, with what is near it, or else some that exist."""
    near = difflib.get_close_matches(name, known, n=5) or known[:10]
    return NotFoundError(f"There is no {kind} named {name!r} in this workspace.{suggestion(name, near, 'There are')}")
