"""Functions that became steps: the outputs they declare, and what they may return."""

from typing import Annotated, Any, Generic, NamedTuple, NotRequired, Optional, TypedDict, TypeVar

import pytest
from typing_extensions import ReadOnly, TypeAliasType
from typing_extensions import TypedDict as BackportedTypedDict

from drystone import Artifact, pipeline, step
from drystone.errors import OutputError, PipelineDefinitionError, RunFailedError
from drystone.functions import declared_outputs
from drystone.pipelines import Pipeline

T = TypeVar("T")


class Parts(TypedDict):
    train: Annotated[list[int], Artifact("train_rows", tags={"share": 0.8})]
    test: list[int]


class Scores(NamedTuple):
    auc: float
    loss: float


class Swapped(NamedTuple):
    loss: float
    auc: float


class Loose(TypedDict, total=False):
    train: int


class Keyed(TypedDict, Generic[T]):
    item: T


class Labelled(NamedTuple, Generic[T]):
    item: T
    label: str


@step
def split(rows: list[int]) -> Parts:
    return {"train": rows[:2], "test": rows[2:]}


@step
def score(rows: list[int]) -> Scores:
    return Scores(float(sum(rows)), 0.5)


@step
def total(rows: list[int]) -> int:
    return sum(rows)


@step
def both(parts: Parts) -> int:
    return sum(parts["train"]) - sum(parts["test"])


@step
def better(scores: Scores) -> float:
    return scores.auc - scores.loss


def outputs(returned: Any) -> list[tuple[str, Any, str | None]]:
    return [(each.name, each.annotation, each.artifact.name) for each in declared_outputs({"return": returned})]


def problems(returned: Any) -> tuple[str, ...]:
    with pytest.raises(PipelineDefinitionError) as caught:
        declared_outputs({"return": returned})
    return caught.value.problems


# What is declared


def test_each_key_of_a_typed_dict_is_an_output() -> None:
    assert outputs(Parts) == [("train_rows", list[int], "train_rows"), ("test", list[int], None)]


def test_any_other_dict_is_one_output() -> None:
    assert outputs(dict[str, int]) == [("output", dict[str, int], None)]
    assert outputs(Annotated[Parts, Artifact("parts")]) == [("parts", Parts, "parts")]
    assert outputs(TypedDict("Nothing", {})) != []  # type: ignore[operator]


def test_generic_members_are_what_they_were_made_for() -> None:
    assert outputs(Keyed[int]) == [("item", int, None)]
    assert outputs(Labelled[int]) == [("item", int, None), ("label", str, None)]
    assert outputs(Labelled) == [("item", T, None), ("label", str, None)]


def test_an_alias_or_the_typed_dict_of_typing_extensions_declares_as_well() -> None:
    class One(BackportedTypedDict):
        a: ReadOnly[int]  # type: ignore[valid-type]

    assert outputs(TypeAliasType("alias", Parts)) == outputs(Parts)
    assert outputs(One) == [("a", int, None)]


def test_a_tuple_of_open_length_is_one_output() -> None:
    assert outputs(tuple[int, *tuple[str, ...]]) == [("output", tuple[int, *tuple[str, ...]], None)]


def test_a_key_that_may_be_missing_is_refused() -> None:
    message = (
        "the key 'train' need not be there, but every output of a step is. Make it required, with None as one of its "
        'values, or keep the dict as one output: Annotated[…, Artifact("name")].'
    )
    assert problems(Loose) == (message,)
    assert problems(TypedDict("Late", {"train": NotRequired[int]})) == (message,)  # type: ignore[operator]
    extra = Annotated[NotRequired[int], "train"]  # type: ignore[valid-type]
    assert problems(TypedDict("Named", {"train": extra})) == (message,)  # type: ignore[operator]
    assert outputs(Annotated[Loose, "loose"]) == [("loose", Loose, "loose")]


def test_an_artifact_inside_another_annotation_is_refused_with_its_place() -> None:
    artifact = Artifact("total")
    assert problems(Optional[Annotated[int, artifact]]) == (  # noqa: UP045 - as users write it
        "the artifact 'total' is declared inside 'output', where it names no output. Put it around the whole: "
        "Annotated[int | None, Artifact(…)] rather than Annotated[int, Artifact(…)] | None.",
    )
    assert problems(list[Annotated[int, artifact]])[0].startswith("the artifact 'total' is declared inside 'output',")
    assert len(problems(tuple[list[Annotated[int, artifact]], dict[str, Annotated[int, artifact]]])) == 2


def test_what_is_misdeclared_is_told_with_its_step() -> None:
    @step
    def train() -> Annotated[int, Artifact("total")] | None: ...

    @pipeline
    def training() -> None:
        train()

    with pytest.raises(PipelineDefinitionError, match=r"^Step 'train': the artifact 'total' is declared inside "):
        training.graph()


def test_inputs_that_are_to_be_ignored_exist() -> None:
    def train(rows: int, depth: int) -> int: ...

    with pytest.raises(PipelineDefinitionError) as caught:
        step(ignore_inputs=["dept", "rows", "seed"])(train)
    assert caught.value.problems == (
        "Step 'train' has no parameter 'dept' to ignore. Did you mean 'depth'? Its parameters: depth, rows.",
        "Step 'train' has no parameter 'seed' to ignore. Its parameters: depth, rows.",
    )
    with pytest.raises(PipelineDefinitionError, match="has no parameter 'dept' to ignore"):
        step(train).with_options(ignore_inputs="dept")


# What is returned


def taken_apart(returned: Any, annotation: Any) -> list[Any]:
    def work() -> Any: ...

    work.__annotations__["return"] = annotation
    return step(work).taken_apart(returned)


@pytest.mark.parametrize(
    ("returned", "annotation", "values"),
    [
        (1, int, [1]),
        (None, None, []),
        ({"test": [2], "train": [1]}, Parts, [[1], [2]]),
        (Scores(0.5, 0.25), Scores, [0.5, 0.25]),
        ((0.5, 0.25), Scores, [0.5, 0.25]),
        ([1, "a"], tuple[int, str], [1, "a"]),
        ({"a": 1}, dict[str, int], [{"a": 1}]),
        ({}, Annotated[Loose, "loose"], [{}]),
        ({"item": 1}, Keyed[int], [1]),
        (Labelled(1, "a"), Labelled[int], [1, "a"]),
    ],
)
def test_what_was_promised_is_taken_apart(returned: Any, annotation: Any, values: list[Any]) -> None:
    assert taken_apart(returned, annotation) == values


STORED = "Nothing was stored."
CORRECT = f"{STORED} Correct the annotation or what the step returns."
PARTS = "Step 'work' is annotated with 2 outputs (train, test), but returned"
WRONG: dict[str, tuple[Any, Any, str]] = {
    "type": ("1", int, f"Output 'output' of step 'work' is annotated int, but is str. {CORRECT}"),
    "nothing": (
        1,
        None,
        "Step 'work' is annotated `-> None`, but returned int. Annotate what it returns, or return nothing.",
    ),
    "missing": ({"train": [1]}, Parts, f"{PARTS} a dict with no 'test'. {STORED}"),
    "surplus": (
        {"train": [1], "tset": [2]},
        Parts,
        f"{PARTS} a dict with no 'test' and 'tset', which is not one. {STORED}",
    ),
    "value": (
        {"train": [1], "test": ["2"]},
        Parts,
        f"Output 'test' of step 'work' is annotated list[int], but is list ['2']. {CORRECT}",
    ),
    "no dict": (([1], [2]), Parts, f"{PARTS} ([1], [2]). {STORED}"),
    "no tuple": (
        {"auc": 0.5, "loss": 0.25},
        Scores,
        "Step 'work' is annotated with 2 outputs (auc, loss), but returned {'auc': 0.5, 'loss': 0.25}. " + STORED,
    ),
    "count": (
        (1, 2),
        tuple[int, int, int],
        f"Step 'work' is annotated with 3 outputs (output_0, output_1, output_2), but returned (1, 2). {STORED}",
    ),
    "fields": (
        Swapped(0.5, 0.25),
        Scores,
        "Step 'work' is annotated with 2 outputs (auc, loss), but returned Swapped(loss=0.5, auc=0.25). " + STORED,
    ),
    "generic": (
        Labelled("a", "b"),
        Labelled[int],
        f"Output 'item' of step 'work' is annotated int, but is str. {CORRECT}",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_was_not_promised_is_refused(name: str) -> None:
    returned, annotation, message = WRONG[name]
    with pytest.raises(OutputError) as caught:
        taken_apart(returned, annotation)
    assert str(caught.value) == message


# In pipelines


@pipeline
def working(rows: list[int]) -> Any:
    parts = split(rows)
    scores = score(parts["train"])
    return {"both": both(parts), "better": better(scores), "tested": total(parts["test"]), "auc": scores.auc}


def built(body: Any, *arguments: Any) -> Any:
    return Pipeline(body, "work", pipeline(lambda: None).options).graph(*arguments)


def test_outputs_are_used_by_key_or_field_and_all_together(project: Any) -> None:
    run = working([1, 2, 3, 4])
    values = {name: version.load() for name, version in run.outputs.items()}
    assert values == {"both": -4, "better": 2.5, "tested": 7, "auc": 3.0}
    assert set(run.steps["split"].outputs) == {"train_rows", "test"}
    assert working([1, 2, 3, 4]).executed == 0


def test_a_typed_dict_may_be_all_that_a_pipeline_returns(project: Any) -> None:
    @pipeline
    def splitting() -> Parts:
        return split([1, 2, 3])

    assert {name: each.load() for name, each in splitting().outputs.items()} == {"train": [1, 2], "test": [3]}


def test_a_key_that_is_no_output_is_answered_with_the_nearest() -> None:
    def body() -> Any:
        return split([1])["trian"]  # type: ignore[typeddict-item]

    with pytest.raises(PipelineDefinitionError) as caught:
        built(body)
    assert str(caught.value) == "Step 'split' has no output 'trian'. Did you mean 'train'? Its outputs: test, train."


def test_a_step_can_wait_for_one_that_returns_a_typed_dict() -> None:
    def body() -> Any:
        return total.with_options(after=split([1]))([1])

    assert built(body).nodes["total"].upstream == ("split",)


def test_what_is_put_into_a_dict_or_named_tuple_is_checked() -> None:
    def body() -> None:
        parts = split([1])
        both({"train": parts["test"], "test": total([1])})  # type: ignore[typeddict-item]
        both({"train": parts["test"]})  # type: ignore[typeddict-item]
        better(Scores(total([1]), score([1]).auc))
        better(Swapped(score([1]).auc, 0.5))  # type: ignore[arg-type]
        better(Scores(parts["test"], 0.5))  # type: ignore[arg-type]
        both(score([1]))  # type: ignore[arg-type]

    with pytest.raises(PipelineDefinitionError) as caught:
        built(body)
    kind = f"{__name__}."
    assert caught.value.problems == (
        "Step 'both' takes \"parts['test']\" as list[int], but step 'total' makes int. Change one of the two "
        "annotations, or put a step between them.",
        f"Step 'both_2' takes 'parts' as {kind}Parts, but is given a dict without 'test'.",
        f"Step 'better_2' takes 'scores' as {kind}Scores, but is given a {kind}Swapped of outputs.",
        "Step 'better_3' takes \"scores['auc']\" as float, but step 'split' makes list[int]. Change one of the two "
        "annotations, or put a step between them.",
        f"Step 'both_3' takes 'parts' as {kind}Parts, but is given a {kind}Scores of outputs.",
    )


def test_a_named_tuple_of_outputs_has_to_be_loadable() -> None:
    class Local(NamedTuple):
        rows: list[int]

    @step
    def take(local: Any) -> None: ...

    def body() -> None:
        take(Local(split([1])["train"]))

    with pytest.raises(PipelineDefinitionError, match=r"Local is defined inside a function, so no step could load it"):
        built(body)


def test_a_wrong_key_fails_the_step_before_anything_is_stored(project: Any) -> None:
    @step
    def wrong() -> Parts:
        return {"train": [1]}  # type: ignore[typeddict-item]

    @pipeline
    def failing() -> Any:
        return wrong()

    with pytest.raises(RunFailedError) as caught:
        failing()
    assert isinstance(caught.value.__cause__, OutputError)
    assert caught.value.run.steps["wrong"].outputs == {}  # type: ignore[attr-defined]
