"""A project's root, its workspace's directory, and its pipelines by their targets."""

import sys
import textwrap

import pytest

from drystone.errors import PipelineDefinitionError, TargetError
from drystone.projects import canonical_name, find_pipeline, load_file, located, project_root, workspace_directory

PIPELINES = """\
from drystone import pipeline, step

@step
def one() -> int:
    return 1

@pipeline
def training():
    return one()

number = 3
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project in the working directory; what it loads is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRYSTONE_WORKSPACE", raising=False)
    (tmp_path / "pyproject.toml").touch()
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(
            getattr(sys.modules[name], "__file__", "") or getattr(sys.modules[name], "__path__", "")
        ):
            del sys.modules[name]


def write(project, name, text=PIPELINES):
    file = project / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text))
    return file


# --- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("marker", ["stacks.py", "pyproject.toml", ".git"])
def test_the_root_is_the_nearest_parent_with_a_marker(tmp_path, marker):
    (tmp_path / ".git").mkdir()
    inner = tmp_path / "inner"
    (inner / "deep/deeper").mkdir(parents=True)
    (inner / marker).touch()
    assert project_root(inner / "deep/deeper") == inner
    assert project_root(inner) == inner
    assert project_root(tmp_path) == tmp_path


def test_without_a_marker_the_root_is_where_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if project_root(tmp_path.parent) == tmp_path.parent:  # unless the temporary directory stands in a project
        assert project_root() == tmp_path


def test_the_workspace_is_in_the_root_unless_the_environment_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRYSTONE_WORKSPACE", raising=False)
    assert workspace_directory(tmp_path) == tmp_path / ".drystone"
    monkeypatch.setenv("DRYSTONE_WORKSPACE", "other")
    assert workspace_directory(tmp_path / "root") == tmp_path / "other"


def test_beside_a_shared_workspace_the_project_keeps_a_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("DRYSTONE_WORKSPACE", "s3://team/workspace")
    assert workspace_directory(tmp_path) == tmp_path / ".drystone"


@pytest.mark.parametrize(
    ("file", "packages", "name"),
    [
        ("train.py", [], "train"),
        ("scripts/train.py", [], "scripts.train"),
        ("flights/pipelines.py", ["flights"], "flights.pipelines"),
        ("src/flights/pipelines.py", ["src/flights"], "flights.pipelines"),
        ("src/flights/models/tree.py", ["src/flights", "src/flights/models"], "flights.models.tree"),
        ("src/flights/__init__.py", ["src/flights"], "flights"),
        ("src/flights/__main__.py", ["src/flights"], "flights.__main__"),
    ],
)
def test_a_canonical_name_starts_at_the_outermost_package_else_at_the_root(project, file, packages, name):
    for package in packages:
        write(project, f"{package}/__init__.py", "")
    assert canonical_name(write(project, file), project) == name


def test_a_file_outside_the_root_has_its_own_name(project, tmp_path_factory):
    assert canonical_name(write(tmp_path_factory.mktemp("elsewhere"), "outside.py"), project) == "outside"


# --- targets ----------------------------------------------------------------------------------------------------------


def test_a_module_and_its_file_lead_to_the_same_pipeline(project):
    write(project, "airline_a/__init__.py", "")
    write(project, "airline_a/pipelines.py")
    by_file = find_pipeline("airline_a/pipelines.py:training", project)
    assert by_file is find_pipeline("airline_a.pipelines:training", project)
    assert by_file is find_pipeline(f"{project}/airline_a/pipelines.py:training", project)
    assert by_file.fn.__module__ == "airline_a.pipelines"


def test_a_file_in_a_package_below_the_root_imports_its_neighbours(project):
    write(project, "src/airline_b/__init__.py", "")
    write(project, "src/airline_b/library.py", "value = 3")
    write(project, "src/airline_b/pipelines.py", f"import airline_b.library\n{PIPELINES}")
    assert find_pipeline("src/airline_b/pipelines.py:training", project).fn.__module__ == "airline_b.pipelines"


def test_a_script_in_a_folder_has_the_name_of_its_path(project):
    write(project, "scripts_c/train.py", f"import neighbour_c\n{PIPELINES}")
    write(project, "scripts_c/neighbour_c.py", "")
    assert find_pipeline("scripts_c/train.py:training", project).fn.__module__ == "scripts_c.train"
    assert "scripts_c.train" in sys.modules


def test_names_that_no_import_statement_could_hold_are_loaded(project):
    write(project, "v1.0/my-train.py")
    assert find_pipeline("v1.0/my-train.py:training", project) is find_pipeline("v1.0/my-train.py:training", project)


def test_a_file_whose_name_is_taken_by_an_installed_module_is_the_one_that_is_loaded(project):
    write(project, "json/train.py")
    assert find_pipeline("json/train.py:training", project).fn.__module__ == "json.train"


def test_a_path_is_looked_for_in_the_working_directory_and_then_in_the_root(project, monkeypatch):
    write(project, "deep_d/near.py")
    monkeypatch.chdir(project / "deep_d")
    assert find_pipeline("near.py:training", project) is find_pipeline("deep_d/near.py:training", project)


def test_a_module_is_loaded_once(project):
    file = write(project, "once_e.py")
    assert load_file(file, project) is load_file(file, project)
    assert sys.path.count(str(project)) == 1


@pytest.mark.parametrize("target", ["training", "flights.pipelines", ":training", "flights:", ""])
def test_what_is_no_target_is_told_what_one_is(project, target):
    with pytest.raises(TargetError) as caught:
        find_pipeline(target, project)
    assert str(caught.value) == (
        f"{target!r} is no target. A target is module:pipeline or path/to/file.py:pipeline, as "
        "flights.pipelines:training or flights/pipelines.py:training."
    )


def test_a_misspelt_pipeline_suggests_those_of_the_module(project):
    write(project, "spelling_f.py")
    with pytest.raises(TargetError) as caught:
        find_pipeline("spelling_f.py:trainning", project)
    assert str(caught.value) == (
        "spelling_f.py has no pipeline 'trainning'. Did you mean 'training'? Its pipelines: training."
    )


@pytest.mark.parametrize(("name", "what"), [("one", "a step"), ("number", "of type int")])
def test_something_else_under_the_name_is_said(project, name, what):
    write(project, "other_g.py")
    with pytest.raises(TargetError) as caught:
        find_pipeline(f"other_g:{name}", project)
    assert str(caught.value) == (f"other_g has a {name!r}, but it is {what}, not a pipeline. Its pipelines: training.")


def test_a_misspelt_file_suggests_its_neighbours(project):
    write(project, "flights_h/pipelines.py")
    with pytest.raises(TargetError) as caught:
        find_pipeline("flights_h/pipeline.py:training", project)
    assert str(caught.value) == (
        "There is no file 'flights_h/pipeline.py'. Did you mean 'pipelines.py'? "
        f"Files in {project}/flights_h: pipelines.py."
    )


def test_a_misspelt_file_suggests_its_neighbours_in_the_working_directory(project, monkeypatch):
    write(project, "scripts_n/train.py")
    monkeypatch.chdir(project / "scripts_n")
    with pytest.raises(TargetError, match=rf"Did you mean 'train\.py'\? Files in {project}/scripts_n: train\.py\."):
        find_pipeline("trian.py:training", project)


def test_a_pipeline_in_a_class_is_found(project):
    write(project, "grouped_o.py", PIPELINES + "\nclass Group:\n    inner = training\n")
    assert find_pipeline("grouped_o:Group.inner", project) is find_pipeline("grouped_o:training", project)
    with pytest.raises(TargetError, match=r"grouped_o has no pipeline 'Group\.other'"):
        find_pipeline("grouped_o:Group.other", project)


def test_a_misspelt_module_suggests_those_of_the_project(project):
    write(project, "flights_i/__init__.py", "")
    write(project, "flights_i/pipelines.py")
    with pytest.raises(TargetError) as caught:
        find_pipeline("fligths_i.pipelines:training", project)
    assert str(caught.value) == (
        f"There is no module 'fligths_i', neither installed nor in {project}. Did you mean 'flights_i.pipelines'? "
        f"Modules in {project}: flights_i, flights_i.pipelines."
    )


@pytest.mark.parametrize("target", ["raising_j.py:training", "raising_j:training"])
def test_a_module_that_raises_is_named_with_the_line_and_kept_as_the_cause(project, target):
    write(project, "raising_j.py", "value = 1\nvalue.oops\n")
    with pytest.raises(
        TargetError, match=r"raising_j\.py, line 2: AttributeError: 'int' object has no attribute 'oops'"
    ):
        find_pipeline(target, project)
    with pytest.raises(TargetError) as caught:
        find_pipeline(target, project)
    assert isinstance(caught.value.__cause__, AttributeError)
    assert "raising_j" not in sys.modules


@pytest.mark.parametrize("target", ["missing_k.py:training", "missing_k:training"])
def test_a_library_that_a_module_misses_is_named(project, target):
    write(project, "missing_k.py", "import no_such_library\n")
    with pytest.raises(TargetError, match=r"missing_k\.py, line 1: ModuleNotFoundError: No module named 'no_such_lib"):
        find_pipeline(target, project)


def test_a_syntax_error_is_named_with_its_line(project):
    write(project, "syntax_l.py", "x = 1\ndef :\n")
    with pytest.raises(TargetError, match=r"syntax_l\.py, line 2: SyntaxError: invalid syntax"):
        find_pipeline("syntax_l.py:training", project)


@pytest.mark.parametrize("target", ["wrong_m.py:training", "wrong_m:training"])
def test_a_wrong_declaration_stays_the_error_it_is(project, target):
    write(project, "wrong_m.py", "from drystone import step\n@step\nasync def one(): pass\n")
    with pytest.raises(PipelineDefinitionError, match="Step one is async"):
        find_pipeline(target, project)


def test_an_exception_that_was_never_raised_has_no_place():
    assert located(ValueError("plain.")) == "ValueError: plain"
