"""The workspace: everything a team's runs, artifacts and models are asked for, and the one way to commit."""

from __future__ import annotations

import functools
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import attrs

from drystone import contexts
from drystone.artifacts import LATEST, Artifact, ArtifactVersion
from drystone.audits import Finding, findings, spoilt
from drystone.blobs import blob_key
from drystone.choices import Stacks
from drystone.databases import Database
from drystone.decisions import crash
from drystone.declarations import ColumnLabels, RowSpan, given
from drystone.errors import NotFoundError, StepContextError, WorkspaceError
from drystone.events import (
    ArtifactSaved,
    CancelRequested,
    Event,
    MetadataLogged,
    Tagged,
    Untagged,
)
from drystone.index import Index
from drystone.ledgers import Commit, SharedLedger
from drystone.locations import default_location, is_url, location_directory, opener
from drystone.locks import LeaseLock as LeaseLock
from drystone.locks import RunLock as RunLock
from drystone.models import Model, ModelRecord, ModelVersion
from drystone.pipelines import runner
from drystone.plugins import load_plugins
from drystone.projects import project_root
from drystone.records import address_of
from drystone.replicas import Replica
from drystone.runs import RUNNING, Run, StepRun
from drystone.shipments import Shipments
from drystone.stores import Stores

View = Index
"""What `decide` is given: the workspace as it is, while nobody else commits."""

Record = Run | StepRun | ArtifactVersion | ModelVersion | ModelRecord | Model


class Workspace(Shipments):
    """A workspace: one ledger, in a directory or behind a URL, and the index that answers from it.

    Attributes:
        directory: Where it is; of a shared one, where this machine keeps its copy.
        url: Where the ledger of a shared workspace is, else None.
    """

    def __init__(
        self,
        location: str | Path | None = None,
        *,
        allow_pickle: bool | None = None,
        ledger: Callable[[], SharedLedger] | None = None,
    ) -> None:
        """Open a workspace, making it if it does not exist.

        Args:
            location: A local directory, or the URL of a ledger that is shared; by default `DRYSTONE_WORKSPACE` or
                `.drystone` in the project's root.
            allow_pickle: Whether values may be pickled where nothing better fits. A local workspace allows it,
                a shared one does not.
            ledger: Opens what is at the URL, for a plugin that knows more of it than the URL says. Then nothing is
                asked of it before the workspace is used.

        Raises:
            WorkspaceError: Nothing can be opened there; the message says why and what to do.
        """
        _check_outside("open the workspace")
        found = default_location(project_root()) if location is None else location
        self.url = str(found) if is_url(found) else None
        self.directory = location_directory(found)
        self.allow_pickle = self.url is None if allow_pickle is None else allow_pickle
        self._stores = Stores(self.published)
        self._opener = ledger or (opener(self.url) if self.url else None)
        if ledger is None:
            _ = self._database
            self.mark_crashed()

    @functools.cached_property
    def _database(self) -> Database:  # type: ignore[override]  # which is read only, and opened when that is first done
        return Replica(self.directory, self._opener) if self._opener else Database(self.directory)

    @classmethod
    def current(cls, root: Path | None = None) -> Workspace:
        """The workspace of a project, by default the one that the working directory belongs to.

        The first of: `DRYSTONE_WORKSPACE`, the object `workspace` in `stacks.py`, `.drystone` in the project's root.
        """
        _check_outside("use the workspace")
        root = root or project_root()
        found = None if os.environ.get("DRYSTONE_WORKSPACE") else Stacks(root, load_plugins()).workspace
        if not isinstance(found, Workspace):
            location = default_location(root)
            found = _current.get(location_directory(location)) or cls(location)
        found = _current.setdefault(found.directory, found)
        found.mark_crashed()
        return found

    def __repr__(self) -> str:
        return f"Workspace({self.url or str(self.directory)!r})"

    def __reduce__(self) -> tuple[Any, ...]:  # records hold it, and may be sent to another process
        return functools.partial(type(self), allow_pickle=self.allow_pickle), (self.url or str(self.directory),)

    def close(self) -> None:
        """Let go of the database. The workspace cannot be used afterwards."""
        if _current.get(self.directory) is self:
            del _current[self.directory]
        if "_database" in vars(self):
            self._database.close()

    def commit(self, decide: Callable[[View], Sequence[Event]], *, author: str | None = None) -> Commit | None:
        """Add events to the ledger, all or none.

        Args:
            decide: Looks at the workspace, while nobody else commits, and says what happened. Must have no effect
                of its own: elsewhere it may be called again.
            author: Who is said to have done it, instead of the user.

        Returns:
            The commit, or None if there was nothing to say.
        """
        _check_outside("write to the workspace")
        return self._database.commit(decide, author)

    def mark_crashed(self) -> list[str]:
        """Record the runs whose drivers died without a word; returns their names."""
        dead: set[tuple[str, str]] = set()

        def decide(view: View) -> list[Event]:
            runs = [run for run in view.running() if (run["name"], run["lock"]) in dead]
            return [event for run in runs for event in crash(view, run)]

        with suppress(WorkspaceError):  # a full disk keeps nobody from reading, nor damage from verifying
            with self._database.snapshot() as (_, index):
                locks = [(run["name"], run["lock"]) for run in index.running()]
            dead.update(each for each in locks if self.lock(each[1]).is_free())
            if dead:
                self.commit(decide)
                for _, lock in dead:
                    self.lock(lock).clear()
            return sorted(name for name, _ in dead)
        return []

    def lock(self, name: str | None = None) -> RunLock | LeaseLock:
        """A new lock for a run's driver, or the one of this name."""
        names: dict[str, Any] = {} if name is None else {"name": name}
        shared = self._database.shared if isinstance(self._database, Replica) else None
        return LeaseLock(shared, **names) if shared is not None else RunLock(self.directory, **names)

    def patient(self, seconds: float) -> AbstractContextManager[None]:
        """Let answers of a shared workspace be so many seconds old meanwhile, so that not every question asks anew.

        What this process commits is seen at once all the same. Those of a local workspace are never old.
        """
        return self._database.patient(seconds)

    @property
    def pace(self) -> float:
        """Seconds between two looks for what others did, for whoever waits for that."""
        return self._database.PACE

    def keep_checkpoint(self) -> str:
        """Keep a copy of this machine's replica beside a shared ledger, for new machines; returns its name.

        Raises:
            WorkspaceError: The workspace is not shared.
        """
        if not isinstance(self._database, Replica):
            raise WorkspaceError(f"{self!r} is not shared: only a shared ledger has checkpoints.")
        return self._database.keep_checkpoint()

    def checkpoint(self) -> None:
        """Make everything committed so far survive a power failure."""
        self._database.sync()

    def rebuild(self) -> None:
        """Make the index anew from the ledger."""
        self._database.rebuild()

    def verify(self) -> list[Finding]:
        """Everything that is wrong: with the commits, the index, or the bytes behind artifacts."""
        self.mark_crashed()
        damage = self._database.damage()
        if any(each.kind == "commit" for each in damage):
            return damage
        with self._database.snapshot(as_it_is=True) as (ledger, index):
            found, blobs = findings(ledger, index)
        missing = defaultdict[str, list[str]](list)
        within_reach = functools.cache(lambda identities: [*self.stores_for(identities)])
        found += spoilt(blobs, within_reach, lambda store, digest: missing[store].append(digest))
        for store, digests in missing.items():
            self.note_missed(self.store_for(store), digests)
        return [*damage, *found]

    def cancel(self, run: str | Run) -> None:
        """Ask the driver of a run to cancel it, wherever that driver runs. It does so within a moment.

        Raises:
            WorkspaceError: It is not running.
        """
        name = run.name if isinstance(run, Run) else run
        self.mark_crashed()

        def decide(view: View) -> list[Event]:
            status = (view.get("run", name) or {}).get("status")
            if status != RUNNING:
                raise WorkspaceError(f"Run {name} is {status}; only a running one can be cancelled.")
            return [CancelRequested(run=name)]

        self.run(name)
        self.commit(decide)

    def resume(self, run: str | Run) -> Run:
        """Go on with a run that crashed, failed or was cancelled; what it finished and is still valid is kept.

        Raises:
            WorkspaceError: It is running, has succeeded, or its pipeline cannot be imported.
            RunFailedError: It failed again.
        """
        return runner().resume(self, run.name if isinstance(run, Run) else run)

    def load_artifact(
        self,
        name: str,
        version: int | str = LATEST,
        *,
        columns: ColumnLabels | None = None,
        rows: RowSpan | None = None,
        **options: Any,
    ) -> Any:
        """The value of one version of an artifact, or a part of it, as `ArtifactVersion.load` has it."""
        return self.artifact(name, version).load(columns=columns, rows=rows, **options)

    def save_artifact(
        self,
        value: Any,
        name: str,
        *,
        kind: str = "data",
        tags: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        trusted: Iterable[str] = (),
        allow_pickle: bool = False,
    ) -> ArtifactVersion:
        """Store a value as a new version of an artifact; returns its record.

        Raises:
            MaterializerError: Nothing that is allowed here can store it.
        """
        logged = contexts.checked_metadata(metadata or {})
        artifact = Artifact(name, kind=kind, tags=dict(tags or {}), trusted=tuple(trusted), allow_pickle=allow_pickle)
        store = self._stores.active(self.place)
        manifest, noted = self.materializers.save(value, artifact, store)
        store.sync(blob_key(blob.digest) for blob in manifest.blobs)
        metadata = {**contexts.checked_metadata(noted), **logged}
        saved = ArtifactSaved(name=name, kind=kind, manifest=manifest, metadata=metadata, tags=artifact.tags)
        commit = self.commit(lambda view: [attrs.evolve(saved, version=view.next_number("artifact", name))])
        assert commit is not None
        version = self.artifact(name, commit.events[-1]["version"])
        load_plugins().tell("drystone_artifact_saved", artifact_version=version)
        return version

    def tag(self, record: Record, *plain: str, **keyed: str) -> None:
        """Put tags on a record: plain ones, and ones with a value.

        Raises:
            NotFoundError: The record is not in this workspace.
        """
        self._note(Tagged, record, tags={**dict.fromkeys(plain, True), **keyed})

    def untag(self, record: Record, *names: str) -> None:
        """Take tags off a record."""
        self._note(Untagged, record, tags=names)

    def log_metadata(self, record: Record, values: Mapping[str, Any]) -> None:
        """Add metadata to a record.

        Raises:
            TypeError: A value cannot be kept as metadata. Nothing was logged.
            NotFoundError: The record is not in this workspace.
        """
        self._note(MetadataLogged, record, values=contexts.checked_metadata(values))

    def _note(self, event: Callable[..., Event], record: Record, **facts: Collection[str]) -> None:
        kind, address = address_of(record)

        def decide(view: View) -> list[Event]:
            if not view.exists(kind, address):
                raise NotFoundError(
                    f"The {kind.replace('_', ' ')} {address!r} is not in this workspace, so nothing can be noted of "
                    "it. A step is there once it has begun, and a model once a run or a version of it is."
                )
            return [event(kind=kind, record=address, **facts)] if any(facts.values()) else []

        self.commit(decide)


def save_artifact(value: Any, name: str, **options: Any) -> Any:
    """Store a value as a new version of an artifact.

    Inside a step it is stored with the step's outputs, and has a version once the step is committed.

    Args:
        value: Anything a materializer takes.
        name: The artifact's name.
        **options: `kind`, `tags`, `metadata`, `trusted`, `allow_pickle`.
    """
    context = contexts.active.get(None)
    if context is not None:
        return context.effects.save_artifact(value, name, **options)
    return Workspace.current().save_artifact(value, name, **options)


def load_artifact(
    name: str,
    version: int | str = LATEST,
    *,
    columns: ColumnLabels | None = None,
    rows: RowSpan | None = None,
    **options: Any,
) -> Any:
    """The value of one version of an artifact, the newest by default; or a part of it.

    Inside a step it becomes an input of that step, as a whole: a stored result is used again only while the name means
    the same content. What the step has saved under that name itself is found as well.

    Args:
        name: The artifact's name.
        version: A number or `"latest"`.
        columns: Of a frame, the labels of the columns that are wanted, in this order; all by default.
        rows: Of a frame, the rows that are wanted, by position: `slice(-100, None)`, `range(0, 1000)`.
        **options: Whatever else the materializer of the value takes.

    Raises:
        NotFoundError: There is no such artifact, column or row.
        MaterializerError: It cannot be read, or not in part.
    """
    wanted = given(columns=columns, rows=rows, **options)
    context = contexts.active.get(None)
    if context is not None:
        return context.effects.load_artifact(name, version, **wanted)
    return Workspace.current().load_artifact(name, version, **wanted)


_current: dict[Path, Workspace] = {}
"""The open workspaces that `current` hands out, by directory."""


def _check_outside(what: str) -> None:
    context = contexts.active.get(None)
    if context is not None:
        raise StepContextError(
            f"Step {context.step!r} tries to {what}. A step only computes: pass what it reads as an argument "
            '(Artifact("name").latest), return what it makes, or call save_artifact and log_metadata. What needs the '
            "whole workspace, such as promoting, belongs into on_success= or behind the run."
        )
