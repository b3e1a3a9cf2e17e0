"""The static graph: what the body of a pipeline describes, and what its handles refuse."""

import itertools
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drystone import Artifact, Model, fans, pipeline, step, unmapped
from drystone.errors import PipelineDefinitionError
from drystone.graphs import Graph, Items, Lookup, NodeOutput, OutputRef, Value


class Scores(NamedTuple):
    auc: float
    loss: float


class Single(NamedTuple):
    auc: float


@step
def load(month: int = 1) -> list[int]:
    return [month]


@step
def scale(data: list[int], factor: float = 1.0) -> list[float]:
    return [each * factor for each in data]


@step
def total(data: list[float]) -> float:
    return sum(data)


@step
def split(data: list[int]) -> tuple[Annotated[list[int], "early"], Annotated[list[int], Artifact("late")]]:
    return data, data


@step
def score(data: list[int]) -> Scores:
    return Scores(0.5, 0.5)


@step
def announce(data: Any) -> None:
    return None


@step
def worthwhile(data: list[int]) -> bool:
    return bool(data)


@step
def gather(parts: Any) -> int:
    return len(parts)


def graph_of(body: Callable[..., Any], **parameters: Any) -> Graph:
    return pipeline(body).graph(**parameters)


def problems_of(body: Callable[..., Any], **parameters: Any) -> tuple[str, ...]:
    with pytest.raises(PipelineDefinitionError) as caught:
        graph_of(body, **parameters)
    return caught.value.problems


def test_nodes_stand_in_order_with_what_is_bound_to_them() -> None:
    def work(month: int) -> Any:
        return total(scale(load(month), factor=2.0))

    graph = graph_of(work, month=4)
    assert graph.pipeline == "work"
    assert graph.parameters == {"month": 4}
    assert list(graph.nodes) == ["load", "scale", "total"]
    assert graph.nodes["load"].bindings == {"month": Value(4)}
    assert graph.nodes["scale"].bindings == {"data": OutputRef("load", "output"), "factor": Value(2.0)}
    assert graph.edges == [("load", "scale"), ("scale", "total")]
    assert graph.outputs == {"total": OutputRef("total", "output")}


def test_repeated_calls_are_numbered() -> None:
    def work() -> Any:
        load()
        load(2)
        load.with_options(name="reload")()
        return load(3)

    assert list(graph_of(work).nodes) == ["load", "load_2", "reload", "load_3"]


def test_a_fixed_tuple_is_unpacked_in_the_body() -> None:
    def work() -> Any:
        early, late = split(load())
        return {"first": total(scale(early)), "late": late}

    graph = graph_of(work)
    assert graph.nodes["scale"].bindings["data"] == OutputRef("split", "early")
    assert graph.outputs == {"first": OutputRef("total", "output"), "late": OutputRef("split", "late")}


def test_a_named_tuple_keeps_its_fields() -> None:
    def work() -> Any:
        scores = score(load())
        announce(scores.loss)
        return scores

    graph = graph_of(work)
    assert graph.nodes["announce"].bindings == {"data": OutputRef("score", "loss")}
    assert graph.outputs == {"auc": OutputRef("score", "auc"), "loss": OutputRef("score", "loss")}


def test_a_tuple_of_one_is_a_tuple() -> None:
    @step
    def single() -> Single:
        return Single(0.5)

    @step
    def lone() -> tuple[Annotated[int, "count"]]:
        return (1,)

    def work() -> Any:
        (count,) = lone()
        return single().auc, count

    assert graph_of(work).outputs == {"auc": OutputRef("single", "auc"), "count": OutputRef("lone", "count")}


def test_two_outputs_of_one_name_are_an_error() -> None:
    @step
    def twins() -> tuple[Annotated[int, "a"], Annotated[int, "a"]]:
        return 1, 2

    assert problems_of(lambda: twins()) == ("Step 'twins' has two outputs of one name. Give each a name of its own.",)


def test_a_container_is_passed_as_it_is_at_the_call() -> None:
    def work() -> Any:
        columns, options = ["a"], {"deep": [1]}
        gather(columns)
        gather(options)
        columns.append("b")
        options["deep"].append(2)
        return gather(columns)

    bound = [node.bindings["parts"] for node in graph_of(work).nodes.values()]
    assert bound == [Value(["a"]), Value({"deep": [1]}), Value(["a", "b"])]


def test_outputs_are_named_after_their_step_or_artifact() -> None:
    def work() -> Any:
        one, two = load(), load()
        return [one, two, split(two)[0], split(one)[0]]

    assert list(graph_of(work).outputs) == ["load", "load_2", "early", "split_2.early"]


def test_a_body_that_returns_nothing_has_no_outputs() -> None:
    def work() -> Any:
        return announce(load())

    assert graph_of(work).outputs == {}


def test_what_returns_none_is_no_output_of_a_pipeline_either() -> None:
    def work() -> Any:
        data = load()
        return announce(data), data

    assert graph_of(work).outputs == {"load": OutputRef("load", "output")}


def test_containers_may_hold_outputs() -> None:
    def work() -> Any:
        return gather({"a": [load(), 1], "b": 2}), gather((3, Artifact("raw").latest)), gather([1, 2])

    nodes = graph_of(work).nodes
    inner = Items("list", (OutputRef("load", "output"), Value(1)))
    assert nodes["gather"].bindings["parts"] == Items("dict", (inner, Value(2)), ("a", "b"))
    assert nodes["gather"].upstream == ("load",)
    assert nodes["gather_2"].bindings["parts"] == Items("tuple", (Value(3), Lookup(Artifact("raw").latest)))
    assert nodes["gather_3"].bindings["parts"] == Value([1, 2])


def test_references_are_bound_as_lookups() -> None:
    delays = Model("delays")

    def work() -> Any:
        scale(delays.artifact("flights"))
        scale(delays.version("production").artifact("flights"))
        return scale(Artifact("flights").version(3))

    bound = [node.bindings["data"] for node in graph_of(work).nodes.values()]
    assert [str(each.reference) for each in bound if isinstance(each, Lookup)] == [
        "flights of delays",
        "flights of delays@production",
        "flights@3",
    ]


def test_after_and_when_are_edges() -> None:
    def work() -> Any:
        data = load()
        told = announce(data)
        pair = split(data)
        return total.with_options(after=[told, pair], when=worthwhile(data))(scale(data))

    graph = graph_of(work)
    assert graph.nodes["total"].upstream == ("scale", "announce", "split", "worthwhile")
    assert graph.nodes["total"].after == ("announce", "split")
    assert graph.downstream({"split"}) == {"split", "total"}
    assert graph.downstream({"load"}) == set(graph.nodes)


def test_options_given_one_after_the_other_add_up() -> None:
    def work() -> Any:
        data = load()
        flag = worthwhile(data)
        gated = total.with_options(after=data, when=flag).with_options(name="sum").with_options(cache=False)
        return gated([1.0])

    node = graph_of(work).nodes["sum"]
    assert (node.after, node.when) == (("load",), OutputRef("worthwhile", "output"))


def test_an_inlined_pipeline_stands_under_its_name() -> None:
    @pipeline
    def inner(month: int) -> Any:
        return scale(load(month))

    def work() -> Any:
        return total(inner.inline(3))

    graph = graph_of(work)
    assert list(graph.nodes) == ["inner.load", "inner.scale", "total"]
    assert graph.nodes["total"].upstream == ("inner.scale",)


@given(st.lists(st.lists(st.integers(0, 20), max_size=3), min_size=1, max_size=12))
def test_every_node_stands_behind_all_that_it_needs(wiring: list[list[int]]) -> None:
    def work() -> Any:
        made: list[Any] = []
        for sources in wiring:
            made.append(gather([made[each % len(made)] for each in sources] if made else []))
        return made[-1]

    graph = graph_of(work)
    position = {name: index for index, name in enumerate(graph.nodes)}
    assert all(position[before] < position[after] for before, after in graph.edges)
    for name in graph.nodes:
        behind = graph.downstream({name})
        assert all(after in behind for before, after in graph.edges if before in behind)


def test_edges_are_checked_and_every_problem_is_told_at_once() -> None:
    @step
    def lookup(table: dict[str, int]) -> int:
        return len(table)

    def work() -> Any:
        lookup(load())
        announce(announce(1))
        scale([1, 2], factor="twice")
        return 3

    assert problems_of(work) == (
        "Step 'lookup' takes 'table' as dict[str, int], but step 'load' makes list[int]. Change one of the two "
        "annotations, "
        "or put a step between them.",
        "Step 'announce_2' takes 'data' from step 'announce', which returns None.",
        "Step 'scale' takes 'factor' as float, but is given 'twice', which is str.",
        "Pipeline 'work' returns 3; a pipeline returns outputs of its steps.",
    )


def test_several_problems_read_as_a_list() -> None:
    def work() -> Any:
        load("a")
        return load("b")

    with pytest.raises(PipelineDefinitionError) as caught:
        graph_of(work)
    assert str(caught.value) == (
        "2 problems:\n"
        "  - Step 'load' takes 'month' as int, but is given 'a', which is str.\n"
        "  - Step 'load_2' takes 'month' as int, but is given 'b', which is str."
    )


def test_what_was_found_before_the_body_ended_is_told_too() -> None:
    def work() -> Any:
        load("a")
        load(mnth=1, year=2)
        return load()

    assert problems_of(work) == (
        "Step 'load' takes 'month' as int, but is given 'a', which is str.",
        "Step 'load' has no parameter 'mnth'. Did you mean 'month'? Its parameters: month.",
        "Step 'load' has no parameter 'year'. Its parameters: month.",
    )


def test_an_error_shows_the_line_of_the_body_it_is_about() -> None:
    def work() -> Any:
        return scale(load().shape)

    with pytest.raises(PipelineDefinitionError) as caught:
        graph_of(work)
    assert "work" in [entry.name for entry in caught.traceback]


def test_every_wrong_argument_of_a_call_is_told_at_once() -> None:
    def work() -> Any:
        return scale(factr=1, factor=2)

    assert problems_of(work) == (
        "Step 'scale' has no parameter 'factr'. Did you mean 'factor'? Its parameters: data, factor.",
        "Step 'scale' needs 'data', which has no default.",
    )


def test_surplus_and_doubled_arguments_are_told() -> None:
    def work() -> Any:
        return load(1, 2, month=3)

    assert problems_of(work) == (
        "Step 'load' takes 1 positional arguments, 2 were given.",
        "Step 'load' got 'month' twice.",
    )


def test_outputs_inside_containers_are_checked() -> None:
    @step
    def join(parts: list[list[int]], names: dict[str, int], pair: tuple[int, str]) -> int:
        return len(parts)

    def work() -> Any:
        data = load()
        count = gather(data)
        join([data, data], {"a": count}, (count, "a"))
        join([data, count], {"a": data}, (count, count))
        return join({"a": data}, [count], (count, "a"))

    change = "Change one of the two annotations, or put a step between them."
    assert problems_of(work) == (
        f"Step 'join_2' takes 'parts[1]' as list[int], but step 'gather' makes int. {change}",
        f"Step 'join_2' takes \"names['a']\" as int, but step 'load' makes list[int]. {change}",
        f"Step 'join_2' takes 'pair[1]' as str, but step 'gather' makes int. {change}",
        "Step 'join_3' takes 'parts' as list[list[int]], but is given a dict of outputs.",
        "Step 'join_3' takes 'names' as dict[str, int], but is given a list of outputs.",
    )


def test_a_pipeline_without_steps_is_an_error() -> None:
    assert problems_of(lambda: None) == ("Pipeline '<lambda>' calls no step.",)


def test_a_model_is_not_an_argument() -> None:
    def work() -> Any:
        return gather(Model("delays").version("production"))

    (problem,) = problems_of(work)
    assert problem == (
        "A model is not a value that a step can take. Pass one of its artifacts: delays@production.artifact(name)."
    )


BEGINNING = "The body of a pipeline cannot "
REASON = " the output of step 'load': it describes the graph and runs before any step does. "
COMPARE = "Compare inside a step that returns bool, and use it with with_options(when=flag)."
ITERATE = "Map a step over it, step.map(…), loop inside a step, or annotate with tuple[A, B] for several outputs."
REFUSED: dict[str, tuple[Callable[[Any], Any], str, str]] = {
    "if": (bool, "test", "Decide inside a step, or make a step conditional: step.with_options(when=flag)(…)."),
    "for": (
        list,
        "iterate over",
        "Map a step over it, step.map(…), loop inside a step, or annotate with tuple[A, B] for several outputs.",
    ),
    "==": (lambda node: node == 1, "compare", COMPARE),
    "!=": (lambda node: node != 1, "compare", COMPARE),
    "<": (lambda node: node < 1, "compare", COMPARE),
    "in": (lambda node: node in [1], "compare", COMPARE),
    "[]": (lambda node: node[0], "index", "Pick the item inside a step, or annotate the step with tuple[A, B]."),
    "f''": (lambda node: f"{node}.csv", "format", "Make the text inside a step."),
    ".": (lambda node: node.shape, "read .shape of", "Read it inside a step."),
}


@pytest.mark.parametrize("use", REFUSED)
def test_a_body_cannot_look_into_what_does_not_exist_yet(use: str) -> None:
    attempt, verb, instead = REFUSED[use]
    assert problems_of(lambda: attempt(load())) == (f"{BEGINNING}{verb}{REASON}{instead}",)


def test_a_handle_shows_where_it_comes_from() -> None:
    shown: list[str] = []

    def work() -> Any:
        handle: Any = load()
        shown.append(repr(handle))
        assert isinstance(handle, NodeOutput)
        assert len({handle, handle}) == 1
        return handle

    graph_of(work)
    assert shown == ["<output 'output' of step 'load'>"]


def test_a_handle_stays_in_its_pipeline() -> None:
    kept: list[Any] = []

    def first() -> Any:
        kept.append(load())
        return kept[0]

    graph_of(first)
    foreign = "<output 'output' of step 'load'>"
    assert problems_of(lambda: scale(kept[0])) == (
        f"{foreign} belongs to another pipeline and cannot be used in this one.",
    )
    assert problems_of(lambda: load.with_options(after=kept[0])()) == (
        f"Step 'load' is to run after {foreign}, which is not what a step of this pipeline returned.",
    )
    assert problems_of(lambda: (load(), kept[0])) == (
        f"Pipeline '<lambda>' returns {foreign}; a pipeline returns outputs of its steps.",
    )


def test_a_condition_is_the_output_of_a_step_that_returns_bool() -> None:
    advice = (
        "it takes the output of a step annotated `-> bool`. For a value known when the pipeline is built, use a plain "
        "`if`."
    )
    assert problems_of(lambda: load.with_options(when=True)()) == (f"Step 'load' has when=True; {advice}",)
    assert problems_of(lambda: load.with_options(when=load())()) == (
        f"Step 'load_2' has when=<output 'output' of step 'load'>; {advice}",
    )


# --- maps -------------------------------------------------------------------------------------------------------------


@step
def square(x: int, factor: int = 1) -> int:
    return x * x * factor


@step
def label(text: str) -> str:
    return text


def test_outside_a_pipeline_a_map_is_a_list_comprehension() -> None:
    assert square.map([1, 2, 3]) == [1, 4, 9]
    assert square.map(range(3), factor=unmapped(2)) == [0, 2, 8]
    assert square.map((1, 2), [3, 4]) == [3, 16]
    assert square.product([1, 2], factor=[1, 10]) == [1, 10, 4, 40]
    assert split.map([[1], [2]]) == ([[1], [2]], [[1], [2]])
    assert score.map([]) == Scores([], [])
    assert square.with_options(name="other").map([]) == []


def test_a_map_is_a_node_that_knows_what_varies() -> None:
    def work(n: int) -> Any:
        early, late = split.map([load(n), load(n)])
        return square.product(load(n), factor=[1, 2]), scale.map(late, factor=unmapped(2.0)), early

    graph = graph_of(work, n=3)
    crossed, scaled, halves = graph.nodes["square"], graph.nodes["scale"], graph.nodes["split"]
    assert (crossed.mapped, crossed.fan) == (("x", "factor"), "product")
    assert crossed.bindings == {"x": OutputRef("load_3", "output"), "factor": Value([1, 2])}
    assert (scaled.mapped, scaled.fan) == (("data",), "zip")
    assert scaled.bindings == {"data": OutputRef("split", "late"), "factor": Value(2.0)}
    assert [*halves.upstream] == ["load", "load_2"]
    assert graph.in_parts == {OutputRef("load_3", "output"), OutputRef("split", "late")}
    assert graph.outputs["split.early" if "split.early" in graph.outputs else "early"] == OutputRef("split", "early")


def test_what_is_mapped_over_is_checked_member_by_member() -> None:
    assert problems_of(lambda: label.map(load())) == (
        "Step 'label' takes 'text' as str, but is mapped over what step 'load' makes: list[int]. Change one of the "
        "annotations, or put a step between them.",
    )
    assert problems_of(lambda: square.map(total([1.0]))) == (
        "Step 'square' maps over 'x', but step 'total' makes float, which is no list.",
    )
    assert problems_of(lambda: square.map([1, "two", "three"])) == (
        "Step 'square' takes 'x[1]' as int, but is given 'two', which is str.",
    )
    assert problems_of(lambda: announce.map(announce.map([1]))) == (
        "Step 'announce_2' takes 'data' from step 'announce', which returns None.",
    )
    graph_of(lambda: square.map(square.map(Artifact("numbers").latest)))


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda: square.map(unmapped(1)), "nothing to map over. Give it a list for at least one of .*: x, factor"),
        (lambda: square.map(), "needs 'x'"),
        (lambda: square.map(1), r"cannot map over 'x', which is of type int: pass a list, or x=unmapped\(…\)"),
        (lambda: square.map("ab"), "of type str: pass a list"),
        (lambda: square.map({1, 2}), r"of type set: pass x=list\(…\)"),
        (lambda: square.map([1, 2], [1]), "different lengths: 'x' has 2, 'factor' has 1.*use product"),
        (lambda: square.map([1], other=[1]), "no parameter 'other'"),
    ],
)
def test_a_map_that_makes_no_sense_is_an_error_in_a_pipeline_and_outside(call: Callable[[], Any], problem: str) -> None:
    with pytest.raises(PipelineDefinitionError, match=problem):
        graph_of(call)
    with pytest.raises(PipelineDefinitionError, match=problem):
        call()


def test_unmapped_belongs_to_maps_and_names_of_elements_to_elements() -> None:
    with pytest.raises(PipelineDefinitionError, match=r"unmapped\(…\) belongs among the arguments of step.map"):
        graph_of(lambda: square(unmapped(1)))
    assert problems_of(lambda: square.with_options(name="sq[1]")(1)) == (
        "Step 'sq[1]' is called like an element of a map. Give it another name.",
    )


def test_a_list_of_a_map_is_no_condition_and_cannot_be_looped_over() -> None:
    with pytest.raises(PipelineDefinitionError, match="takes the output of a step annotated `-> bool`"):
        graph_of(lambda: load.with_options(when=worthwhile.map([[1]]))())
    with pytest.raises(PipelineDefinitionError, match=r"Map a step over it, step.map\(…\)"):
        graph_of(lambda: [square(each) for each in load()])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_the_places_of_a_product_are_every_combination_in_order(lengths: list[int]) -> None:
    named = {f"p{index}": length for index, length in enumerate(lengths)}
    expected = itertools.product(*map(range, lengths))
    found = [tuple(each.values()) for each in fans.places(fans.PRODUCT, named)]
    assert found == [*expected]
    assert fans.count(fans.PRODUCT, named) == len(found)
