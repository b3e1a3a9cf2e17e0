"""Expansions: maps on their way. Their elements begin and end one by one, and become the lists that a map makes."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from drystone import parts
from drystone.artifacts import ArtifactVersion, Manifest
from drystone.elements import Elements
from drystone.events import ArtifactSaved, DynamicInput, ElementFinished, Event
from drystone.fans import element_name
from drystone.graphs import Node, Part
from drystone.hits import Decision
from drystone.journals import LIST, Journal
from drystone.preparation import Prepared
from drystone.runs import CACHED, CANCELLED, COMPLETE, FAILED, PENDING, SUCCEEDED, StepRun
from drystone.serialization import to_time
from drystone.tasks import StepResult
from drystone.workspaces import View

NAMED = 10
"""How many failed elements an error names."""


class Expansion:
    """One map on its way.

    Attributes:
        node: The map.
        decision: What is known of it as a whole.
        counts: How many of its elements have ended how.
        repeated: The runs whose results its elements repeat.
        is_begun: Whether its start is on record, as it is once an element computes something.
        kept_executed: How many of its elements were computed before the run was resumed.
    """

    def __init__(self, prepared: Prepared, journal: Journal, node: Node, decision: Decision) -> None:
        self.node = node
        self.decision = decision
        self.counts: Counter[str] = Counter()
        self.repeated: set[str] = set()
        self.is_begun = False
        self.kept_executed = 0
        self._prepared = prepared
        self._journal = journal
        self._elements = Elements(prepared.hits, node, journal.manifests)
        self._coming = iter(self._elements)
        self._open = 0
        self._made: dict[int, Mapping[str, Manifest]] = {}
        self._errors: dict[int, str] = {}
        self._dynamic: dict[str, DynamicInput] = {}
        self._decisions: dict[int, Decision] = {}
        self._failed_attempts: dict[int, list[dict[str, Any]]] = {}

    def __len__(self) -> int:
        return len(self._elements)

    # Elements begin

    def following(self) -> Iterator[Node]:
        """The next element that is to be decided, if there is one."""
        for element in self._coming:
            self._open += 1
            yield element
            return

    def decide(self, element: Node) -> Decision:
        """Whether a stored result fits an element."""
        decision = self._decisions[_index(element)] = self._elements.decide(element)
        return decision

    def overtaken(self) -> None:
        """Others make the same, or have made it; that is looked at element by element, and does not count again."""
        with self._journal.workspace.reading() as records:
            self.decision = attrs.evolve(self.decision, seen=records.index.position()[0])

    def takes_stored(self, element: Node, decision: Decision) -> bool:
        """Whether a stored result, of this run before it was resumed or of another one, stands for an element."""
        if self._is_kept(element, decision):
            return True
        if decision.cached is not None:
            self._cached(element, decision.cached)
        return decision.cached is not None

    def _is_kept(self, element: Node, decision: Decision) -> bool:
        """Whether this run completed an element before it was resumed, and that is still valid."""
        if self._journal.epoch == 1 or decision.key is None:
            return False
        with self._journal.workspace.reading() as records:
            body = records.index.get("element", f"{self._journal.run}/{element.name}")
            done = records.element(body | {"inputs": {}, "parts": {}}) if body is not None else None
        if done is None or done.status not in COMPLETE or done.key != decision.key:
            return False
        if self._prepared.hits.unusable(done) is not None:
            return False
        del self._decisions[_index(element)]
        self.kept_executed += done.status == SUCCEEDED
        self._repeat(element, done, done.status)
        return True

    # Elements end

    def _cached(self, element: Node, stored: StepRun) -> None:
        self.repeated.add(stored.run)
        self._repeat(element, stored, CACHED)
        self._note(
            element,
            CACHED,
            outputs={name: each.manifest for name, each in stored.outputs.items()},
            noted={name: each.metadata for name, each in stored.outputs.items() if each.metadata},
            cached_from=stored.run,
            cached_step=stored.name,
            metadata=stored.metadata,
            dynamic_inputs={name: _pinned(each) for name, each in stored.dynamic_inputs.items()},
        )

    def _repeat(self, element: Node, stored: StepRun, status: str) -> None:
        dynamic = {
            name: DynamicInput(name=each.name, version=each.version, manifest=each.manifest)
            for name, each in stored.dynamic_inputs.items()
        }
        self._end(element, status, {name: each.manifest for name, each in stored.outputs.items()}, dynamic)

    def succeeded(self, element: Node, result: StepResult, attempts: int) -> None:
        """An element is done and its outputs are stored."""
        made = {each.output: each for each in result.saved if each.output is not None}
        manifests = {name: each.manifest for name, each in made.items()}
        self._end(element, SUCCEEDED, manifests, result.dynamic_inputs)
        self._note(
            element,
            SUCCEEDED,
            result,
            outputs=manifests,
            noted={name: each.metadata for name, each in made.items() if each.metadata},
            attempts=attempts,
            dynamic_inputs={name: _pinned(each) for name, each in result.dynamic_inputs.items()},
        )

    def retried(self, element: Node, result: StepResult, attempt: int, error: str) -> None:
        """An attempt at an element failed, and another one follows."""
        failed = {"attempt": attempt, "error": error, "metadata": result.metadata, "log": result.log}
        failed |= {"store": self._journal.store, "ended_at": _now()}
        self._failed_attempts.setdefault(_index(element), []).append(failed)

    def failed(self, element: Node, result: StepResult, attempts: int, error: str) -> None:
        """An element failed for good."""
        self._errors[_index(element)] = "" if self._errors else error
        self._end(element, FAILED)
        self._note(element, FAILED, result, attempts=attempts, error=error)

    def unstarted(self, element: Node, status: str, reason: str) -> None:
        """An element is not to run any more; neither are those that follow, and all that is said of the map."""
        self._coming = iter(())
        self._end(element, status)

    def _end(
        self,
        element: Node,
        status: str,
        made: Mapping[str, Manifest] | None = None,
        dynamic: Mapping[str, DynamicInput] | None = None,
    ) -> None:
        self._open -= 1
        self.counts[status] += 1
        if made is not None:
            self._made[_index(element)] = made
        for name, each in (dynamic or {}).items():
            self._dynamic.setdefault(name, each)  # of several versions the first, which will not be found current

    def _note(self, element: Node, status: str, result: StepResult | None = None, **facts: Any) -> None:
        """Tell the ledger how an element ended; what it has in common with the others is said of the map."""
        decision = self._decisions.pop(_index(element))
        own = {name: element.bindings[name] for name in self.node.mapped}
        told: dict[str, Any] = {
            kind: {name: fact for name, fact in decision.facts[kind].items() if name in own}
            for kind in ("parameters", "values", "input_digests")
        }
        if result is not None:
            facts |= {"metadata": result.metadata, "log": result.log, "store": self._journal.store}
        saved = [each for each in result.saved if each.output is None] if result is not None else []
        failed_attempts = tuple(self._failed_attempts.pop(_index(element), ()))

        def entry(view: View) -> Iterator[Event]:
            yield from self._journal.code(view, decision.closure)
            for each in saved:
                yield from self._journal.saved(view, each)
            yield ElementFinished(
                run=self._journal.run,
                step=self.node.name,
                index=_index(element),
                status=status,
                key=decision.key,
                closure=decision.closure.digest,
                inputs=self._journal.inputs(own),
                parts={name: (each.place, each.manifest) for name, each in own.items() if isinstance(each, Part)},
                failed_attempts=failed_attempts,
                **told,
                **facts,
            )

        self._journal.add(entry)

    # The map ends

    @property
    def is_over(self) -> bool:
        """Whether every element has ended, or none is to begin any more."""
        return self._open == 0

    @property
    def progress(self) -> dict[str, int]:
        """How many elements have which status."""
        pending = len(self) - self.counts.total()
        return {**self.counts, **({PENDING: pending} if pending else {})}

    def close(self, reason: str) -> str:
        """Tell the ledger how the map ended, and of the lists that it made; returns its status.

        Args:
            reason: Why it stopped, if it did.
        """
        missing = len(self) - self.counts.total() + self.counts[CANCELLED]
        self.counts[CANCELLED] = missing
        self.counts += Counter()  # leaves out what is zero
        if self.counts[FAILED]:
            self._journal.failed(self.node, StepResult(), int(self.is_begun), self._said(), **self._facts())
            return FAILED
        if missing:
            self._journal.unstarted(self.node, CANCELLED, reason, **self._facts())
            return CANCELLED
        if self.counts[CACHED] and self.counts.keys() == {CACHED}:
            self._journal.cached(self.node, attrs.evolve(self.decision, cached=self._repeated()), self.counts)
            return CACHED
        result = StepResult(saved=tuple(self._saved()), dynamic_inputs=self._dynamic)
        self._journal.succeeded(self.node, result, int(self.is_begun), **self._facts())
        return SUCCEEDED

    def _facts(self) -> dict[str, Any]:
        """What is not on record of the map."""
        return {"decision": None if self.is_begun else self.decision, "counts": dict(self.counts)}

    def _said(self) -> str:
        """What to say of elements that failed: which, and the error of the first that did."""
        first, *others = self._errors
        named = [element_name(self.node.name, place) for place in sorted([first, *others[: NAMED - 1]])]
        more = ["…"] if len(self._errors) > NAMED else []
        said = f"{len(self._errors)} of {len(self)} elements failed: {', '.join(named + more)}."
        return f"{said} The first to fail was {element_name(self.node.name, first)}:\n{self._errors[first]}"

    def _lists(self) -> Iterator[tuple[str, Manifest]]:
        """What each output of the map consists of."""
        store, hits = self._prepared.stack.artifact_store, self._prepared.hits
        for output in self.node.step.outputs:
            members = [self._made[place][output.name] for place in range(len(self))]
            manifest = parts.joined(members, list, store)
            self._journal.created.extend(blob.digest for blob in parts.brief(manifest).blobs)
            hits.holdings.lists[manifest.digest] = members
            yield output.name, manifest

    def _saved(self) -> Iterator[ArtifactSaved]:
        names = self._prepared.names[self.node.name]
        for (output, manifest), declared, name in zip(self._lists(), self.node.step.outputs, names, strict=True):
            yield ArtifactSaved(
                name=name,
                kind=LIST,
                manifest=manifest,
                metadata={"length": len(self)},
                tags=declared.artifact.tags,
                run=self._journal.run,
                step=self.node.name,
                output=output,
            )

    def _repeated(self) -> StepRun:
        """What stands for a map whose elements all come from the cache, as if it were one stored result."""
        runs = self.repeated if len(self.repeated) == 1 else {""}
        now = datetime.datetime.now(datetime.UTC)
        outputs = {
            name: ArtifactVersion(
                name="", version=0, kind=LIST, manifest=manifest, metadata={"length": len(self)}, created_at=now
            )
            for name, manifest in self._lists()
        }
        dynamic = {
            name: ArtifactVersion(name=each.name, version=each.version, kind="", manifest=each.manifest, created_at=now)
            for name, each in self._dynamic.items()
        }
        return StepRun(name="", run=min(runs), status=CACHED, outputs=outputs, dynamic_inputs=dynamic)


def _index(element: Node) -> int:
    assert element.of is not None
    return element.of[1]


def _pinned(version: ArtifactVersion | DynamicInput) -> tuple[str, int, str]:
    return version.name, version.version, version.manifest.digest


def _now() -> str:
    return to_time(datetime.datetime.now(datetime.UTC))
