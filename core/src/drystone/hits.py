"""Hits: whether a stored result can stand for running a step, and if not, why not."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import attrs

from drystone.annotations import bare
from drystone.arguments import USES, Arguments, arguments_of, closure_of, unread, used_by
from drystone.artifact_stores import ArtifactStore
from drystone.artifacts import ArtifactVersion, Manifest, Reference
from drystone.comparisons import changed, code_changes, recorded_text, told
from drystone.components import StackComponent
from drystone.documents import Document
from drystone.errors import NotFoundError, PlanError, shortened, suggestion
from drystone.fingerprints import Closure, Fingerprints, step_key
from drystone.graphs import Binding, Graph, Lookup, Node, OutputRef
from drystone.holdings import Holdings
from drystone.orchestrators import Environment
from drystone.pipelines import PipelineOptions
from drystone.records import Records
from drystone.runs import Cause, StepRun
from drystone.states import annotation_text
from drystone.workspaces import View, Workspace

STATED = 20
"""How many causes of a step are recorded."""


@attrs.frozen(kw_only=True)
class Decision:
    """What is known of a node whose inputs are all known.

    Attributes:
        key: The cache key; None where there can be none.
        cached: The stored result to use, or None.
        causes: Why there is none.
        facts: What events say of it: key, closure, plain arguments as text and as digests, digests of inputs, options,
            causes and what these were compared with.
        is_shareable: Whether a result that somebody else is making now would do.
        dynamic: Whether what the step loaded when it last ran decides.
        seen: Number of the last commit when a result was found that cannot be used; what was made since may do.
    """

    key: str | None
    cached: StepRun | None
    causes: tuple[Cause, ...]
    closure: Closure
    facts: Mapping[str, Any]
    is_shareable: bool
    dynamic: bool
    seen: int = 0


class Hits:
    """Decides for each node of one graph whether a stored result can stand for running it.

    Args:
        workspace: Where results are on record.
        store: Where their bytes have to be.
        graph: The graph.
        options: Of the pipeline.
        fingerprints: Takes the closures.
        found: What the graph's references mean.
        copies: Whether bytes that only another store within reach has are copied; else they only count as there.
        components: Of the stack, as it is defined; steps may use them.
        environments: Those that nodes run in, by name, where that is not this one.

    Raises:
        PlanError: A step that is to be rerun does not exist.
    """

    def __init__(
        self,
        workspace: Workspace,
        store: ArtifactStore,
        graph: Graph,
        options: PipelineOptions,
        fingerprints: Fingerprints,
        found: Mapping[Reference | ArtifactVersion, ArtifactVersion],
        *,
        copies: bool,
        components: Mapping[str, StackComponent] = MappingProxyType({}),
        environments: Mapping[str, Environment] = MappingProxyType({}),
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
        self.copies = copies
        self.components = components
        self.environments = environments
        self.forced = graph.downstream(set(options.rerun))
        self.holdings = Holdings(workspace, store, copies=copies)
        self._specified: dict[tuple[str, bool], Any] = {}

    def closure(self, node: Node) -> Closure:
        """The code that a node's step reaches, through its arguments as well; computed once per function."""
        return self._there(node, closure_of(node, self.fingerprints, self.components))

    def step_closure(self, node: Node) -> Closure:
        """The code that a node's step reaches by itself, whatever its arguments are."""
        return self._there(node, self.fingerprints.closure(node.step))

    def _there(self, node: Node, closure: Closure) -> Closure:
        """A closure as it is where a node runs."""
        environment = self.environments.get(node.call)
        return closure if environment is None or environment.unknown else closure.within(environment)

    def unknown(self, node: Node) -> str:
        """Why nobody can tell yet what a node finds where it runs; empty if that is known."""
        environment = self.environments.get(node.call)
        return environment.unknown if environment is not None else ""

    def arguments(self, bindings: Mapping[str, Binding], made: Mapping[OutputRef, Manifest]) -> Arguments:
        """What is known of arguments, given what the nodes before made."""
        return arguments_of(bindings, lambda each: self.manifest(each, made).digest)

    def decide(self, node: Node, made: Mapping[OutputRef, Manifest], arguments: Arguments | None = None) -> Decision:
        """Whether a stored result fits a node, given what the nodes before it made, or what is known of its arguments.

        Why there is none for an element of a map is said of the map.
        """
        given = self._completed(node, arguments or self.arguments(node.bindings, made))
        closure = self._there(node, self.fingerprints.closure(node.step, given.classes))
        if problem := self.unknown(node):  # even now: then what it makes is nobody else's
            closure = attrs.evolve(closure, digest=None, problems=(*closure.problems, problem))
        key = self._key(node, closure, given) if closure.digest and not given.problems else None
        refused = self._refused(node, closure)
        causes, cached, last, seen = refused or given.problems, None, None, 0
        if key is not None and not causes:
            with self.workspace.reading() as records:
                cached, causes = self._stored(node, key, records)
                seen = records.index.position()[0] if causes else 0
                if cached is None and not causes and node.of is None:
                    last = records.index.last_execution(self.graph.pipeline, node.name)
                    causes = self._compared(node, records.index, last, closure, given)
        dynamic = bool(cached and cached.dynamic_inputs) or any(cause.kind == "dynamic" for cause in causes)
        facts = {
            "key": key,
            "closure": closure.digest,
            "parameters": given.shown,
            "values": given.values,
            "input_digests": given.inputs,
            "causes": _stated(causes),
            "compared_with": last and (last["run"], last["closure"]),
            "options": _options(node, closure),
        }
        return Decision(
            key=key,
            cached=cached,
            causes=causes,
            closure=closure,
            facts=facts,
            is_shareable=not refused,
            dynamic=dynamic,
            seen=seen,
        )

    def unstored(self, node: Node) -> tuple[Cause, ...]:
        """Why no stored result can fit a node, whatever its inputs are: none can have come from its code."""
        closure = self.closure(node)
        if self.unknown(node) or (node.mapped and closure.digest != self.step_closure(node).digest):
            return ()  # what its elements reach, each through its own arguments, may be on record
        with self.workspace.reading() as records:
            if closure.digest is not None and records.index.exists("code", closure.digest):
                return ()
            last = records.index.last_execution(self.graph.pipeline, node.name)
            return self._compared(node, records.index, last, closure, self._completed(node, self.arguments({}, {})))

    def _completed(self, node: Node, given: Arguments) -> Arguments:
        """What a step is given, with the components that it uses."""
        used = used_by(node, self.components)
        return given if used is None else given | used

    def _key(self, node: Node, closure: Closure, given: Arguments) -> str:
        call = (node.call, node.of is None)
        if call not in self._specified:
            self._specified[call] = self._specify(node)
        options = node.step.options
        specified = self._specified[call]
        return step_key(closure, given.values, given.inputs, specified, options.cache_salt, options.ignore_inputs)

    def _specify(self, node: Node) -> Any:
        """How the outputs of a node are made and stored."""
        expected = self.workspace.materializers.expected
        plain = [(annotation_text(bare(each.annotation)), expected(each.annotation)) for each in node.step.outputs]
        if node.mapped:
            return (node.fan, sorted(node.mapped), plain)
        in_parts = [OutputRef(node.name, each.name) in self.graph.in_parts for each in node.step.outputs]
        return [(*each, "in parts") if apart else each for each, apart in zip(plain, in_parts, strict=True)]

    def uncached(self, node: Node) -> tuple[Cause, ...]:
        """Why the cache is not even asked for a node."""
        return self._refused(node, self.closure(node))

    def _refused(self, node: Node, closure: Closure) -> tuple[Cause, ...]:
        if node.call in self.options.rerun:
            return (Cause("rerun", "rerun was asked for"),)
        if node.call in self.forced:
            before = next(name for name in self.graph.nodes[node.call].upstream if name in self.forced)
            return (Cause("rerun", f"depends on {before}, which is rerun", name=before),)
        if self._policy(node) is False:
            return (Cause("cache", "its cache is off"),)
        return tuple(unread(closure))

    def _policy(self, node: Node) -> bool | datetime.timedelta:
        choices = (False if self.options.cache is False else None, node.step.options.cache, self.options.cache)
        return next((choice for choice in choices if choice is not None), True)

    def _stored(self, node: Node, key: str, records: Records) -> tuple[StepRun | None, tuple[Cause, ...]]:
        """The stored result under a key, or why there is none that can be used."""
        cached = records.cached_step(key) if node.of is None else records.cached_element(key)
        if cached is None:
            return None, ()
        policy, now = self._policy(node), datetime.datetime.now(datetime.UTC)
        if isinstance(policy, datetime.timedelta) and now - (cached.ended_at or now) > policy:
            return None, (Cause("cache", f"its stored result is older than {policy}"),)
        problem = self.unusable(cached)
        causes = (Cause("blob", problem),) if problem else tuple(_moved(cached, records))
        return (None, causes) if causes else (cached, ())

    def unusable(self, step: StepRun) -> str | None:
        """Why the outputs of a step cannot stand for running it again, or None."""
        for version in step.outputs.values():
            if not self.workspace.materializers.current(version.manifest):
                return f"{version}: its materializer {version.materializer} is now another version"
            problem = self.holdings.unreadable(version)
            if problem:
                return f"{version}: {problem}"
        return None

    def holds(self, condition: Manifest) -> bool:
        """Whether the output that a `when=` stands for is true."""
        return bool(self.holdings.load(condition))

    def manifest(self, binding: OutputRef | Lookup, made: Mapping[OutputRef, Manifest]) -> Manifest:
        """What an argument consists of."""
        return made[binding] if isinstance(binding, OutputRef) else self.found[binding.reference].manifest

    def ensure(self, version: ArtifactVersion) -> None:
        """Make an input from before the run readable through this stack's store.

        Raises:
            PlanError: Its bytes are out of reach.
        """
        problem = self.holdings.unreadable(version)
        if problem:
            raise PlanError(f"The input {version} cannot be read: {problem}. Run what makes it again.")

    def _compared(
        self,
        node: Node,
        index: View,
        last: Document | None,
        closure: Closure,
        given: Arguments,
    ) -> tuple[Cause, ...]:
        """What differs from the last time this step was executed."""
        if last is None:
            return (Cause("new", "never ran here"),)
        causes = [*_code(closure, last, index), *_other_options(node, closure, last)]
        ignored = node.step.options.ignore_inputs
        for name, digest in given.values.items():
            if last["values"].get(name) != digest and name not in ignored:
                before = last["parameters"].get(name, "not given")
                label = name if name.startswith(USES) else f"parameter {name}"
                causes.append(Cause("parameter", f"{label} {before} → {given.shown[name]}", name=name))
        others = [name for name, digest in given.inputs.items() if last["input_digests"].get(name) != digest]
        causes += [Cause("input", f"input {name} changed", name=name) for name in others if name not in ignored]
        if causes or last["closure"] is None:
            return tuple(causes) or (Cause("unknown", f"nobody knows of which code {last['run']} made its result"),)
        return (Cause("options", f"its output annotations or their materializers are not those of {last['run']}"),)


def _moved(cached: StepRun, records: Records) -> Iterator[Cause]:
    """What a step loaded while it ran that means something else today."""
    for asked, then in cached.dynamic_inputs.items():
        name, _, version = asked.rpartition("@")
        try:
            now = records.found_version(name, version)
        except NotFoundError:
            yield Cause("dynamic", f"dynamic input {name} {then.version} is gone", name=name)
            continue
        if now.digest != then.digest:
            yield Cause("dynamic", f"dynamic input {name} {then.version} → {now.version}", name=name)


def _code(closure: Closure, last: Document, index: View) -> Iterator[Cause]:
    """What differs in code from when a step was last executed."""
    before = index.get("code", last["closure"]) if last["closure"] not in (None, closure.digest) else None
    if before is not None:
        yield from code_changes(before, closure.recorded(), recorded_text(index), closure.text)


def _options(node: Node, closure: Closure) -> dict[str, str]:
    """Options of a step that are recorded, as text."""
    return told(node.step.options) | ({"ignore": ", ".join(closure.ignored)} if closure.ignored else {})


def _other_options(node: Node, closure: Closure, last: Document) -> Iterator[Cause]:
    """Options that are part of the key, and were others."""
    for name, (before, now) in changed(last.get("options", {}), _options(node, closure)):
        if name in ("cache_salt", "ignore", "ignore_inputs"):
            yield Cause("options", f"{name} {before or 'not given'} → {now or 'not given'}", name=name)


def _stated(causes: tuple[Cause, ...]) -> list[tuple[str, str, str]]:
    """Causes as events keep them: diffs can be had again from the sources on record, and of very many some will do."""
    stated = [(cause.kind, shortened(cause.text), cause.name) for cause in causes[:STATED]]
    return stated if len(causes) <= STATED else [*stated, ("unknown", f"and {len(causes) - STATED} more", "")]
