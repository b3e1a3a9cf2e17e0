"""A stage has one holder, moves in one instant, and goes back the way it came."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drystone import Model
from drystone.errors import NotFoundError, StageError
from drystone.events import ModelVersionCreated, RunFinished, RunStarted


@pytest.fixture
def models(workspace):
    """A workspace with three versions of the model m."""
    for _ in range(3):
        workspace.create_model_version("m")
    return workspace


def version_of_run(workspace, status):
    def decide(view):
        number = view.next_number("run", "p")
        run = f"p-{number}"
        return [
            RunStarted(run=run, number=number, pipeline="p", stack="dev", parameters={}, model="m"),
            ModelVersionCreated(model="m", number=view.next_number("model_version", "m"), run=run),
            RunFinished(run=run, status=status),
        ]

    workspace.commit(decide)


def test_a_stage_goes_from_holder_to_holder(models):
    assert models.promote("m", 1, "production").stages == ("production",)
    assert models.promote(Model("m"), models.model_version("m", 2), "production").number == 2
    former = models.model_version("m", 1)
    assert (former.stages, former.archived) == ((), True)
    assert models.model_version("m", "production").number == 2
    assert models.models()[0].stages == {"production": 2}


@pytest.mark.parametrize("stage", ["production", "canary"])
def test_a_version_that_somebody_names_like_a_stage_does_not_take_its_place(models, stage):
    if stage == "canary":
        models.promote("m", 1, "canary")
        models.promote("m", 2, "canary")
    forged = ModelVersionCreated(model="m", number=4, name=stage)
    models.commit(lambda view: [forged])  # past the check of names, which is the writer's own
    if stage == "production":
        with pytest.raises(NotFoundError, match="no version, name or stage 'production'"):
            models.model_version("m", stage)
    else:
        assert models.model_version("m", stage).number == 2


def test_holding_another_stage_is_not_archived(models):
    models.promote("m", 1, "staging")
    models.promote("m", 1, "production")
    models.promote("m", 2, "production")
    assert (models.model_version("m", 1).stages, models.model_version("m", 1).archived) == (("staging",), False)
    models.promote("m", 3, "staging")
    assert models.model_version("m", 1).archived
    models.promote("m", 1, "canary")
    assert not models.model_version("m", 1).archived


def test_rollback_goes_back_one_promotion_at_a_time(models):
    for number in (1, 2, 3):
        models.promote("m", number, "production")
    assert models.rollback("m", "production", reason="worse").number == 2
    assert models.rollback("m", "production").number == 1
    with pytest.raises(StageError, match="held by nobody before"):
        models.rollback("m", "production")
    models.promote("m", 3, "production")
    assert models.rollback("m", "production").number == 1
    history = models.stage_history("m", "production")
    assert [(move.action, move.previous, move.number) for move in history] == [
        ("promote", None, 1),
        ("promote", 1, 2),
        ("promote", 2, 3),
        ("rollback", 3, 2),
        ("rollback", 2, 1),
        ("promote", 1, 3),
        ("rollback", 3, 1),
    ]
    assert history[3].reason == "worse"
    assert history[0].author == "tester@example.org"


def test_nothing_to_roll_back_is_an_error(models):
    with pytest.raises(StageError, match="never promoted to"):
        models.rollback("m", "production")


def test_promoting_the_holder_changes_nothing(models):
    models.promote("m", 1, "production")
    models.promote("m", 1, "production")
    assert len(models.stage_history("m")) == 1


def test_expect_guards_against_a_race(models):
    models.promote("m", 1, "production", expect=None)
    models.promote("m", 2, "production", expect=1)
    with pytest.raises(StageError, match=r"held by m@2, not by m@1 as expected"):
        models.promote("m", 3, "production", expect=1)
    with pytest.raises(StageError, match="not by nobody"):
        models.promote("m", 3, "production", expect=None)
    assert models.model_version("m", "production").number == 2


@pytest.mark.parametrize("status", ["failed", "crashed", "cancelled"])
def test_only_versions_of_runs_that_succeeded_are_promoted(workspace, status):
    version_of_run(workspace, "succeeded")
    version_of_run(workspace, status)
    with pytest.raises(StageError, match=f"m@2 cannot be promoted: the run that made it is {status}"):
        workspace.promote("m", 2, "production")
    assert workspace.model_version("m").number == 1
    assert workspace.promote("m", "latest", "production").number == 1
    assert workspace.models()[0].latest == 1
    version_of_run(workspace, "succeeded")
    assert workspace.model_version("m").number == 3


@pytest.mark.parametrize("stage", ["latest", "shared", "archived", "7", "", "a b", "../x"])
def test_names_that_are_no_stages_are_refused(models, stage):
    with pytest.raises(StageError, match="is no name for a stage"):
        models.promote("m", 1, stage)


def test_a_versions_name_is_no_stage(models):
    models.create_model_version("m", "baseline")
    with pytest.raises(StageError, match="A version of model 'm' is named 'baseline'"):
        models.promote("m", 1, "baseline")


@pytest.mark.parametrize("name", ["7", "latest", "production", "canary", ""])
def test_names_that_mean_something_else_are_refused(models, name):
    models.promote("m", 1, "canary")
    with pytest.raises(StageError, match="cannot be the name of a model version"):
        models.create_model_version("m", name)


def test_versions_are_found_by_number_name_and_stage(models):
    named = models.create_model_version("m", "baseline", tags={"by": "hand"})
    assert (named.number, named.status, named.tags) == (4, "succeeded", {"by": "hand"})
    assert models.model_version("m", "baseline") == models.model_version("m", 4) == models.model_version("m", "4")
    with pytest.raises(StageError, match="Version 4 of model 'm' is already named 'baseline'"):
        models.create_model_version("m", "baseline")
    assert [version.number for version in models.model_versions("m", limit=2)] == [4, 3]


def test_what_does_not_exist_is_answered_with_what_does(models):
    models.promote("m", 1, "production")
    with pytest.raises(NotFoundError, match=r"Did you mean 'production'\? It has versions 1 to 3"):
        models.model_version("m", "producton")
    with pytest.raises(NotFoundError, match="no version, name or stage 9"):
        models.promote("m", 9, "production")
    with pytest.raises(NotFoundError, match="There is no model 'other'"):
        models.model_version("other")
    version_of_run(models, "failed")
    assert models.model_version("m", "latest").number == 3


def test_reading_never_creates(workspace):
    with pytest.raises(NotFoundError):
        workspace.model_version("m", "production")
    assert workspace.models() == []
    assert workspace.info()["commits"] == 0


def test_versions_are_compared_by_their_metadata(models):
    models.log_metadata(models.model_version("m", 1), {"auc": 0.8})
    models.log_metadata(models.model_version("m", 2), {"auc": 0.9, "depth": 8})
    models.promote("m", 2, "production")
    assert models.compare("m", [1, "production"]) == {1: {"auc": 0.8}, 2: {"auc": 0.9, "depth": 8}}


def test_linked_artifacts_belong_to_the_version(models):
    one, two = models.save_artifact(1, "x"), models.save_artifact(2, "x")
    models.link(models.model_version("m", 1), one)
    models.link(models.model_version("m", 1), one)
    models.link(models.model_version("m", 1), two)
    version = models.model_version("m", 1)
    assert version.artifacts == {"x": two}
    assert version.artifact("x") == two
    assert version.artifact("x", 1) == one
    models.save_artifact(4, "x")
    with pytest.raises(NotFoundError) as caught:
        version.artifact("x", 3)
    assert str(caught.value) == "m@1 has no artifact 'x@3'. Linked to it: x."
    models.link(Model("m"), models.save_artifact(3, "y"))
    assert models.resolve(Model("m").artifact("y")).load() == 3


MOVES = st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.sampled_from(["a", "b"])), max_size=12)


@settings(max_examples=25, deadline=None)
@given(MOVES)
def test_a_stage_always_goes_where_a_stack_of_promotions_says(tmp_path_factory, moves):
    from drystone.workspaces import Workspace

    workspace = Workspace(tmp_path_factory.mktemp("ws"))
    for _ in range(3):
        workspace.create_model_version("m")
    stacks = {"a": [], "b": []}
    for back, number, stage in moves:
        held = stacks[stage]
        if back and len(held) < 2:
            with pytest.raises(StageError):
                workspace.rollback("m", stage)
        elif back:
            held.pop()
            assert workspace.rollback("m", stage).number == held[-1]
        else:
            if held[-1:] != [number]:
                held.append(number)
            workspace.promote("m", number, stage)
    assert workspace.models()[0].stages == {stage: held[-1] for stage, held in stacks.items() if held}
    assert workspace.verify() == []
    workspace.close()
