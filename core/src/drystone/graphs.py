"""The static graph of a pipeline: nodes, what is bound to their parameters, and the handles a body passes around."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping
from types import GenericAlias
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard, cast

import attrs

from drystone import fans
from drystone.annotations import abbreviated, described, is_required, keys_of_dict
from drystone.bindings import Binding as Binding
from drystone.bindings import Items as Items
from drystone.bindings import Lookup as Lookup
from drystone.bindings import OutputRef as OutputRef
from drystone.bindings import Part as Part
from drystone.bindings import Value as Value
from drystone.bindings import filled as filled
from drystone.bindings import leaves as leaves
from drystone.bindings import lookups as lookups
from drystone.bindings import members as members
from drystone.declarations import Model, ModelReference, Reference, Stored, imported
from drystone.errors import PipelineDefinitionError
from drystone.fitting import accepts, element_annotation, fits, member_annotations
from drystone.functions import Declared, Outputs

if TYPE_CHECKING:  # records, which no declaration needs
    from drystone.artifacts import ArtifactVersion


@attrs.frozen(kw_only=True)
class Node:
    """One call of a step in a pipeline, or one element of a call that maps.

    Attributes:
        mapped: The parameters whose arguments vary from element to element; empty for a plain call.
        fan: How they vary: `zip` or `product`.
        of: The map and the place in it that an element belongs to.
    """

    name: str
    step: Declared[Any, Any] = attrs.field(eq=False)
    bindings: Mapping[str, Binding]
    after: tuple[str, ...] = ()
    when: OutputRef | None = None
    mapped: tuple[str, ...] = ()
    fan: str = fans.ZIP
    of: tuple[str, int] | None = None

    @property
    def call(self) -> str:
        """Its name in the graph; of an element that of its map."""
        return self.of[0] if self.of is not None else self.name

    @functools.cached_property
    def upstream(self) -> tuple[str, ...]:
        """Names of the nodes that must be done before this one, each once."""
        bound = [leaf for binding in self.bindings.values() for leaf in leaves(binding)]
        needed = [leaf.node for leaf in bound if isinstance(leaf, OutputRef)]
        return tuple(dict.fromkeys([*needed, *self.after, *([self.when.node] if self.when else [])]))

    def takes(self, parameter: str) -> Any:
        """What this call of the step takes for a parameter."""
        return self.step.annotations.get(parameter, Any)


@attrs.frozen(kw_only=True)
class Graph:
    """The static graph of a pipeline for one set of parameters; its nodes stand in an order that can be executed."""

    pipeline: str
    parameters: Mapping[str, Any]
    nodes: Mapping[str, Node]
    outputs: Mapping[str, OutputRef]

    @property
    def edges(self) -> list[tuple[str, str]]:
        """Pairs of node names, upstream first."""
        return [(before, name) for name, upstream in self.upstream.items() for before in upstream]

    @functools.cached_property
    def upstream(self) -> dict[str, tuple[str, ...]]:
        """For each node that has to wait for others, which those are."""
        return {node.name: node.upstream for node in self.nodes.values() if node.upstream}

    @functools.cached_property
    def in_parts(self) -> frozenset[OutputRef]:
        """The lists that some map varies, which whoever makes them stores part by part."""
        lists = (node.bindings[name] for node in self.nodes.values() for name in node.mapped)
        return frozenset(each for each in lists if isinstance(each, OutputRef))

    def downstream(self, names: set[str]) -> set[str]:
        """The given nodes and all that depend on them."""
        reached = set(names)
        for node in self.nodes.values():
            if reached.intersection(node.upstream):
                reached.add(node.name)
        return reached

    def _repr_html_(self) -> str:
        """Itself in a notebook, as a drawing."""
        page: str = imported("drystone.pages:of_graph")(self)
        return page


def _check_loadable(container: type) -> None:
    if "<locals>" in container.__qualname__:
        raise PipelineDefinitionError(
            f"The named tuple {container.__qualname__} is defined inside a function, so no step could load it. Move it "
            "to the top level of a module."
        )


def unlike(name: str, annotation: Any, value: Any) -> str:
    """What is wrong with a value that its annotation does not accept."""
    given = f"{abbreviated(value)}, which is {described(type(value))}"
    return f"takes {name!r} as {described(annotation)}, but is given {given}."


def _refusal(attempt: str, instead: str) -> Callable[..., NoReturn]:
    def refuse(handle: NodeOutput, *operands: object) -> NoReturn:
        raise PipelineDefinitionError(
            f"The body of a pipeline cannot {attempt} the output of step {handle.ref.node!r}: it describes the graph "
            f"and runs before any step does. {instead}"
        )

    return refuse


class NodeOutput:
    """What a step call returns in the body of a pipeline: a stand-in for a value that does not exist yet."""

    def __init__(self, builder: Builder, ref: OutputRef, annotation: Any) -> None:
        self.builder = builder
        self.ref = ref
        self.annotation = annotation

    __bool__ = _refusal("test", "Decide inside a step, or make a step conditional: step.with_options(when=flag)(…).")
    __iter__ = _refusal(
        "iterate over",
        "Map a step over it, step.map(…), loop inside a step, or annotate with tuple[A, B] for several outputs.",
    )
    __getitem__ = _refusal("index", "Pick the item inside a step, or annotate the step with tuple[A, B].")
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refusal(
        "compare", "Compare inside a step that returns bool, and use it with with_options(when=flag)."
    )
    __format__ = _refusal("format", "Make the text inside a step.")
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        _refusal(f"read .{name} of", "Read it inside a step.")(self)

    def __repr__(self) -> str:
        return f"<output {self.ref.output!r} of step {self.ref.node!r}>"


class Builder:
    """Collects the nodes while the body of a pipeline runs."""

    def __init__(self, pipeline: str) -> None:
        self.pipeline = pipeline
        self.nodes: dict[str, Node] = {}
        self.problems: list[str] = []
        self.prefixes: list[str] = []
        self._numbers: dict[str, int] = {}
        self._annotations: dict[OutputRef, Any] = {}

    def add(
        self,
        step: Declared[Any, Any],
        arguments: Mapping[str, Any],
        *,
        after: Any,
        when: Any,
        mapped: tuple[str, ...] = (),
        fan: str = fans.ZIP,
    ) -> Any:
        """Add a call of a step, or of one that maps; returns the handle or handles of its outputs."""
        wanted = ".".join([*self.prefixes, step.name])
        name, number = wanted, self._numbers.get(wanted, 1)
        while name in self.nodes:
            number += 1
            name = f"{wanted}_{number}"
        self._numbers[wanted] = number
        if fans.element_address(name) is not None:
            self.problems.append(f"Step {name!r} is called like an element of a map. Give it another name.")
        lists = {parameter: self._list(step.label, parameter, arguments[parameter]) for parameter in mapped}
        bindings = {parameter: self.binding(value) for parameter, value in {**arguments, **lists}.items()}
        for parameter, binding in bindings.items():
            check = self._mapped_problems if parameter in mapped else self._problems
            problems = check(parameter, binding, step.annotations.get(parameter, Any))
            self.problems += [f"Step {name!r} {problem}" for problem in problems]
        self._check_lengths(name, {parameter: bindings[parameter] for parameter in mapped}, fan)
        self.nodes[name] = Node(
            name=name,
            step=step,
            bindings=bindings,
            after=tuple(
                self._upstream(name, each) for each in (after if isinstance(after, list | tuple) else (after,))
            ),
            when=self._condition(name, when),
            mapped=mapped,
            fan=fan,
        )
        kinds = [GenericAlias(list, each.annotation) if mapped else each.annotation for each in step.outputs]
        refs = [OutputRef(name, each.name) for each in step.outputs]
        handles = [NodeOutput(self, ref, kind) for ref, kind in zip(refs, kinds, strict=True)]
        made = {handle.ref: handle.annotation for handle in handles}
        if len(made) < len(handles):
            self.problems.append(f"Step {name!r} has two outputs of one name. Give each a name of its own.")
        self._annotations |= made
        return step.put_together(handles) if handles else NodeOutput(self, OutputRef(name, ""), None)

    def _list(self, label: str, parameter: str, value: Any) -> Any:
        return value if isinstance(value, NodeOutput | Stored) else fans.plain_list(label, parameter, value)

    def binding(self, value: Any) -> Binding:
        """What a value in the body of a pipeline stands for."""
        if isinstance(value, NodeOutput):
            if not self._owns(value):
                raise PipelineDefinitionError(f"{value!r} belongs to another pipeline and cannot be used in this one.")
            return value.ref
        if isinstance(value, Stored):
            return Lookup(cast("Reference | ArtifactVersion", value))  # there are no others
        if isinstance(value, Model | ModelReference):
            raise PipelineDefinitionError(
                f"A model is not a value that a step can take. Pass one of its artifacts: {value}.artifact(name)."
            )
        if isinstance(value, fans.Unmapped):
            raise PipelineDefinitionError("unmapped(…) belongs among the arguments of step.map or step.product.")
        kind: Any = dict if isinstance(value, Outputs) else type(value)
        if kind in (list, tuple, dict) or hasattr(kind, "_make"):
            bound = tuple(self.binding(item) for item in (value.values() if kind is dict else value))
            plain = [item.value for item in bound if isinstance(item, Value)]
            if len(plain) < len(bound):
                _check_loadable(kind)
                return Items(kind.__name__, bound, tuple(value) if kind is dict else (), kind)
            if kind in (list, dict):  # the body may change its own
                value = dict(zip(value, plain, strict=True)) if kind is dict else plain
        return Value(value)

    def graph(self, parameters: Mapping[str, Any], returned: Any) -> Graph:
        """The finished graph.

        Raises:
            PipelineDefinitionError: Lists every problem that was found.
        """
        outputs = self._returned(returned)
        if not self.nodes and not self.problems:
            self.problems.append(f"Pipeline {self.pipeline!r} calls no step.")
        if self.problems:
            raise PipelineDefinitionError(*self.problems)
        return Graph(pipeline=self.pipeline, parameters=dict(parameters), nodes=self.nodes, outputs=outputs)

    def _problems(self, parameter: str, binding: Binding, wanted: Any) -> Iterator[str]:
        """What is wrong with what a parameter, or a place in it, is bound to."""
        takes = f"takes {parameter!r} as {described(wanted)}, but"
        if isinstance(binding, OutputRef) and not binding.output:
            yield f"takes {parameter!r} from step {binding.node!r}, which returns None."
        elif isinstance(binding, OutputRef):
            have = self._annotations[binding]
            if not fits(have, wanted):
                yield (
                    f"{takes} step {binding.node!r} makes {described(have)}. "
                    "Change one of the two annotations, or put a step between them."
                )
        elif isinstance(binding, Value) and not accepts(binding.value, wanted):
            yield unlike(parameter, wanted, binding.value)
        elif isinstance(binding, Items):
            if not fits(binding.container, wanted):
                yield f"{takes} is given a {described(binding.container)} of outputs."
                return
            fields: tuple[Any, ...] = getattr(binding.container, "_fields", tuple(range(len(binding.items))))
            places = binding.keys or fields
            missing = [name for name, hint in (keys_of_dict(wanted) or {}).items() if is_required(hint)]
            yield from (f"{takes} is given a dict without {name!r}." for name in missing if name not in places)
            inside = member_annotations(wanted, binding.container, places)
            for place, item, annotation in zip(places, binding.items, inside, strict=True):
                yield from self._problems(f"{parameter}[{place!r}]", item, annotation)

    def _mapped_problems(self, parameter: str, binding: Binding, wanted: Any) -> Iterator[str]:
        """What is wrong with what a parameter that varies is bound to."""
        if isinstance(binding, OutputRef) and binding.output:
            have = self._annotations[binding]
            inside = element_annotation(have)
            if inside is None:
                yield f"maps over {parameter!r}, but step {binding.node!r} makes {described(have)}, which is no list."
            elif not fits(inside, wanted):
                yield (
                    f"takes {parameter!r} as {described(wanted)}, but is mapped over what step {binding.node!r} makes: "
                    f"{described(have)}. Change one of the annotations, or put a step between them."
                )
        elif isinstance(binding, OutputRef):
            yield from self._problems(parameter, binding, wanted)
        elif not isinstance(binding, Lookup):
            for index, item in enumerate(members(binding)):
                problem = next(self._problems(f"{parameter}[{index}]", item, wanted), None)
                if problem is not None:  # the others may be as many as the list is long
                    yield problem
                    return

    def _check_lengths(self, name: str, lists: Mapping[str, Binding], fan: str) -> None:
        known = {each: len(members(binding)) for each, binding in lists.items() if isinstance(binding, Value | Items)}
        problem = fans.mismatch(fan, known) if known else None
        if problem is not None:
            self.problems.append(f"Step {name!r} {problem}")

    def _owns(self, handle: object) -> TypeGuard[NodeOutput]:
        return isinstance(handle, NodeOutput) and handle.builder is self

    def _upstream(self, node: str, handle: Any) -> str:
        several = handle.values() if isinstance(handle, dict) else handle if isinstance(handle, tuple) else ()
        first = next(iter(several), handle)
        if not self._owns(first):
            raise PipelineDefinitionError(
                f"Step {node!r} is to run after {handle!r}, which is not what a step of this pipeline returned."
            )
        return first.ref.node

    def _condition(self, node: str, when: Any) -> OutputRef | None:
        if when is None:
            return None
        if not self._owns(when) or when.annotation is not bool:
            raise PipelineDefinitionError(
                f"Step {node!r} has when={when!r}; it takes the output of a step annotated `-> bool`. "
                "For a value known when the pipeline is built, use a plain `if`."
            )
        return when.ref

    def _returned(self, returned: Any) -> dict[str, OutputRef]:
        if returned is None:
            return {}
        handles = returned if isinstance(returned, list | tuple) else [returned]
        named = returned.items() if isinstance(returned, dict) else [(None, each) for each in handles]
        outputs: dict[str, OutputRef] = {}
        for key, handle in named:
            if not self._owns(handle):
                self.problems.append(
                    f"Pipeline {self.pipeline!r} returns {handle!r}; a pipeline returns outputs of its steps."
                )
            elif handle.ref.output:  # of a step that returns None there is nothing to return
                node, output = handle.ref.node, handle.ref.output
                names = output if output != "output" else node, f"{node}.{output}", f"{node}.{output}_{len(outputs)}"
                outputs[next(each for each in names if each not in outputs) if key is None else str(key)] = handle.ref
        return outputs


importing: contextvars.ContextVar[str | None] = contextvars.ContextVar("drystone_importing", default=None)
"""The target whose module is being imported in this context, only to find a pipeline in it."""

building: contextvars.ContextVar[Builder | None] = contextvars.ContextVar("drystone_building", default=None)
"""The builder of the pipeline whose body runs in this context."""
