"""Plans: what would run, what comes from the cache, and why."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from drystone.annotations import abbreviated, bare, described
from drystone.artifacts import ArtifactVersion, Manifest, Reference
from drystone.blobs import BlobReader, BlobWriter, blob_key
from drystone.components import ArtifactStore
from drystone.digests import digest_value
from drystone.errors import BlobLostError, EncodingError, PlanError, suggestion
from drystone.fingerprints import Closure, Fingerprints, classes_of, step_key
from drystone.graphs import Binding, Graph, Items, Lookup, Node, OutputRef, Value
from drystone.materializers import PickleMaterializer
from drystone.pipelines import PipelineOptions
from drystone.records import Records
from drystone.runs import CACHED, MAYBE, RUN, Cause, Plan, StepPlan, StepRun
from drystone.states import annotation_text
from drystone.workspaces import View, Workspace


@attrs.frozen(kw_only=True)
class Decision:
    """What the planner knows of one node, once all its inputs are known.

    Attributes:
        key: The cache key; None where there can be none.
        cached: The stored result to use, or None.
        causes: Why there is none.
        facts: What events say of it: key, closure, plain arguments as text and as digests, digests of inputs, reason.
    """

    key: str | None
    cached: StepRun | None
    causes: tuple[Cause, ...]
    closure: Closure
    facts: Mapping[str, Any]


class Planner:
    """Decides for each node of one graph whether a stored result can stand for running it."""

    def __init__(
        self,
        workspace: Workspace,
        store: ArtifactStore,
        graph: Graph,
        options: PipelineOptions,
        fingerprints: Fingerprints,
        found: Mapping[Reference | ArtifactVersion, ArtifactVersion],
    ) -> None:
        unknown = [name for name in options.rerun if name not in graph.nodes]
        if unknown:
            raise PlanError(
                *(f"There is no step {each!r} to rerun.{suggestion(each, graph.nodes)}" for each in unknown)
            )
        self.workspace = workspace
        self.store = store
        self.graph = graph
        self.options = options
        self.fingerprints = fingerprints
        self.found = found
        self.forced = graph.downstream(set(options.rerun))
        self._readable: set[str] = set()

    def plan(self, stack: str) -> Plan:
        """The plan of the whole graph; nothing is run and nothing is written."""
        digests: dict[OutputRef, str] = {}
        steps: dict[str, StepPlan] = {}
        for node in self.graph.nodes.values():
            open_inputs = [name for name in node.upstream if steps[name].status != CACHED]
            steps[node.name] = self._maybe(node, open_inputs) if open_inputs else self._settled(node, digests)
        return Plan(pipeline=self.graph.pipeline, stack=stack, steps=steps)

    def _settled(self, node: Node, digests: dict[OutputRef, str]) -> StepPlan:
        decision = self.decide(node, digests)
        if decision.cached is None:
            return StepPlan(name=node.name, status=RUN, causes=decision.causes)
        for output, version in zip(node.step.outputs, decision.cached.outputs.values(), strict=True):
            digests[OutputRef(node.name, output.name)] = version.digest
        return StepPlan(name=node.name, status=CACHED, cached_from=decision.cached.run)

    def _maybe(self, node: Node, open_inputs: list[str]) -> StepPlan:
        """A node behind one that runs: certain to run only if no stored result can have come from its own code."""
        closure = self.closure(node)
        certain = self._uncached(node, closure)
        with self.workspace.reading() as records:
            if not certain and not (closure.digest and records.index.exists("code", closure.digest)):
                certain = self._compared(node, records.index, closure, {}, {}, {})
        if certain and node.when is None:
            return StepPlan(name=node.name, status=RUN, causes=certain)
        waiting = Cause("input", f"runs if the output of {', '.join(open_inputs)} changes")
        return StepPlan(name=node.name, status=MAYBE, causes=(*certain, waiting))

    def closure(self, node: Node) -> Closure:
        """The code that a node's step reaches, through its arguments as well; computed once per function."""
        values = [binding.value for binding in node.bindings.values() if isinstance(binding, Value)]
        classes = dict.fromkeys(each for value in values for each in classes_of(value))
        return self.fingerprints.closure(node.step, classes)

    def decide(self, node: Node, digests: Mapping[OutputRef, str]) -> Decision:
        """Whether a stored result fits a node whose inputs are all known.

        Args:
            node: The node.
            digests: The content digests of what the nodes before it made.
        """
        closure = self.closure(node)
        values: dict[str, str] = {}
        shown: dict[str, str] = {}
        inputs: dict[str, str] = {}
        unknown: list[Cause] = []
        for name, binding in node.bindings.items():
            if not isinstance(binding, Value):
                inputs[name] = self._digest(binding, digests)
                continue
            shown[name] = abbreviated(binding.value)
            try:
                values[name] = digest_value(binding.value)
            except EncodingError as exc:
                unknown.append(Cause("unknown", f"parameter {name}: {exc}"))
        key = self._key(node, closure, values, inputs) if closure.digest and not unknown else None
        causes, cached = self._uncached(node, closure) or tuple(unknown), None
        if key is not None and not causes:
            with self.workspace.reading() as records:
                cached, causes = self._stored(node, key, records)
                if cached is None and not causes:
                    causes = self._compared(node, records.index, closure, values, shown, inputs)
        facts = {
            "key": key,
            "closure": closure.digest,
            "parameters": shown,
            "values": values,
            "input_digests": inputs,
            "reason": "; ".join(cause.text for cause in causes),
        }
        return Decision(key=key, cached=cached, causes=causes, closure=closure, facts=facts)

    def _digest(self, binding: Binding, digests: Mapping[OutputRef, str]) -> str:
        if isinstance(binding, OutputRef):
            return digests[binding]
        if isinstance(binding, Lookup):
            return self.found[binding.reference].digest
        if isinstance(binding, Items):
            return digest_value((binding.kind, binding.keys, [self._digest(each, digests) for each in binding.items]))
        return digest_value(("value", binding.value))

    def _key(self, node: Node, closure: Closure, values: Mapping[str, str], inputs: Mapping[str, str]) -> str:
        expected = self.workspace.materializers.expected
        outputs = [(annotation_text(bare(each.annotation)), expected(each.annotation)) for each in node.step.outputs]
        options = node.step.options
        return step_key(closure, values, inputs, outputs, options.cache_salt, options.ignore_inputs)

    def _uncached(self, node: Node, closure: Closure) -> tuple[Cause, ...]:
        """Why the cache is not even asked."""
        if node.name in self.options.rerun:
            return (Cause("rerun", "rerun was asked for"),)
        if node.name in self.forced:
            return (Cause("rerun", "depends on a step that is rerun"),)
        if self._policy(node) is False:
            return (Cause("cache", "its cache is off"),)
        edited = [Cause("edited", f"{name}: file edited since it was loaded") for name in closure.edited]
        return (*edited, *(Cause("unknown", problem) for problem in closure.problems))

    def _policy(self, node: Node) -> bool | datetime.timedelta:
        choices = (False if self.options.cache is False else None, node.step.options.cache, self.options.cache)
        return next((choice for choice in choices if choice is not None), True)

    def _stored(self, node: Node, key: str, records: Records) -> tuple[StepRun | None, tuple[Cause, ...]]:
        """The stored result under a key, or why there is none that can be used."""
        cached = records.cached_step(key)
        if cached is None:
            return None, ()
        policy, now = self._policy(node), datetime.datetime.now(datetime.UTC)
        if isinstance(policy, datetime.timedelta) and (cached.ended_at or now) < now - policy:
            return None, (Cause("cache", f"its stored result is older than {policy}"),)
        for version in cached.outputs.values():
            problem = self._unusable(version.manifest)
            if problem:
                return None, (Cause("blob", f"{version}: {problem}"),)
        return cached, ()

    def _unusable(self, manifest: Manifest) -> str | None:
        """Why stored bytes cannot stand for a result now, or None."""
        if not self.workspace.materializers.current(manifest):
            return f"its materializer {manifest.materializer} is now another version"
        return self._unreadable(manifest)

    def _unreadable(self, manifest: Manifest) -> str | None:
        """Why this stack's store cannot read stored bytes, or None; copies them from another store within reach."""
        if manifest.digest in self._readable:
            return None
        missing = [blob for blob in manifest.blobs if self.store.size(blob_key(blob.digest)) != blob.size]
        if missing and manifest.store == self.store.identity:
            return "its blobs are missing or damaged in the artifact store"
        try:
            source = BlobReader(self.workspace.store_for(manifest.store), manifest) if missing else None
            for blob in missing:
                with BlobWriter(self.store).file(blob.path) as spooled:
                    source.copy(blob.path, spooled)  # type: ignore[union-attr]
        except LookupError:
            return f"its blobs are only in the artifact store {manifest.store}, which is out of reach"
        except BlobLostError:
            return f"its blobs are missing or damaged in the artifact store {manifest.store}"
        self._readable.add(manifest.digest)
        return None

    def ensure(self, version: ArtifactVersion) -> None:
        """Make an input from before the run readable through this stack's store.

        Raises:
            PlanError: Its bytes are out of reach.
        """
        problem = self._unreadable(version.manifest)
        if problem:
            raise PlanError(f"The input {version} cannot be read: {problem}. Run what makes it again.")

    def _compared(
        self,
        node: Node,
        index: View,
        closure: Closure,
        values: Mapping[str, str],
        shown: Mapping[str, str],
        inputs: Mapping[str, str],
    ) -> tuple[Cause, ...]:
        """What differs from the last time this step was executed."""
        last = index.last_execution(self.graph.pipeline, node.name)
        if last is None:
            return (Cause("new", "never ran here"),)
        causes = [*_changed_code(closure, last["closure"], index)]
        for name, digest in values.items():
            if last["values"].get(name) != digest:
                before = last["parameters"].get(name, "not given")
                causes.append(Cause("parameter", f"parameter {name} {before} → {shown[name]}"))
        changed = [name for name, digest in inputs.items() if last["input_digests"].get(name) != digest]
        causes += [Cause("input", f"input {name} changed") for name in changed]
        return tuple(causes) or (Cause("unknown", f"its result of {last['run']} cannot be used any more"),)


def _changed_code(closure: Closure, last: str | None, index: View) -> Iterator[Cause]:
    before = index.get("code", last) if last and last != closure.digest else None
    if before is None:
        return
    members = before["members"]
    for name, member in closure.members.items():
        if name not in members:
            yield Cause("code", f"code of {name} is new")
        elif members[name] != member.digest:
            known = index.get("source", members[name])
            yield _diffed(name, known["text"] if known else "", member.source or "")
    for name in sorted(members.keys() - closure.members.keys()):
        yield Cause("code", f"code of {name} is no longer used")
    if before["python"] != closure.python:
        yield Cause("python", f"Python {before['python']} → {closure.python}")
    for name in sorted({*before["packages"], *closure.packages}):
        old, new = before["packages"].get(name, "not used"), closure.packages.get(name, "not used")
        if old != new:
            yield Cause("package", f"package {name} {old} → {new}")


def _diffed(name: str, old: str, new: str) -> Cause:
    if old == new or not old or not new:
        return Cause("code", f"code of {name} changed")
    if "\n" not in old.strip() and "\n" not in new.strip():
        return Cause("code", f"{name} changed: {old.strip()} → {new.strip()}")
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "before", "now", lineterm="", n=1)
    return Cause("code", f"code of {name} changed", "\n".join(lines))


def refused_pickles(graph: Graph, workspace: Workspace) -> list[str]:
    """Annotated outputs that only pickle could store, in a workspace that forbids it."""
    pickle = PickleMaterializer.name
    return [
        f"Step {node.name!r} makes {output.name!r} as {described(output.annotation)}, which only pickle can store, and "
        "this workspace forbids pickle. Install a plugin for the type, or declare Artifact(allow_pickle=True)."
        for node in graph.nodes.values()
        for output in node.step.outputs
        if not workspace.materializers.allow_pickle
        and not output.artifact.allow_pickle
        and (workspace.materializers.expected(output.annotation) or ("",))[0] == pickle
    ]
