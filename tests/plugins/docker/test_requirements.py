"""What a project asks for, in whichever file it says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from drystone.errors import StackError
from drystone_docker.requirements import Wishes, of_project, project_name

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def test_a_project_that_says_nothing_asks_for_nothing(tmp_path: Path) -> None:
    assert of_project(None, tmp_path) == Wishes()


def test_pyproject_comes_before_a_file_of_requirements(tmp_path: Path, write: Write) -> None:
    write("requirements.txt", "scipy")
    assert of_project(None, tmp_path).lines == ("scipy",)
    write("pyproject.toml", "[tool.ruff]\n")
    assert of_project(None, tmp_path).lines == ("scipy",)
    write("pyproject.toml", '[project]\nname = "flights"\ndependencies = ["pandas>=2.3"]\n')
    assert of_project(None, tmp_path).lines == ("pandas>=2.3",)
    assert of_project("requirements.txt", tmp_path).lines == ("scipy",)


def test_a_tuple_is_what_it_says(tmp_path: Path, write: Write) -> None:
    write("requirements.txt", "scipy")
    assert of_project(("numpy",), tmp_path).lines == ("numpy",)
    assert of_project((), tmp_path) == Wishes()


def test_files_include_others_and_constraints(tmp_path: Path, write: Write) -> None:
    write("more/dev.txt", "-r ../requirements.txt\n-c limits.txt\nruff # a comment\n")
    write("more/limits.txt", "numpy<3\n")
    write("requirements.txt", "# all of it\npandas \\\n  >=2.3\n--index-url=https://example.org/simple\n\nnumpy\n")
    found = of_project("more/dev.txt", tmp_path)
    assert found.lines == ("pandas >=2.3", "numpy", "ruff")
    assert found.constraints == ("numpy<3",)
    assert found.indexes == ("--index-url https://example.org/simple",) or found.indexes == (
        "--index-url=https://example.org/simple",
    )


def test_an_editable_package_travels_with_the_code_and_its_dependencies_do_not(tmp_path: Path, write: Write) -> None:
    write("requirements.txt", "-e ./libs/shared[plots]\n")
    write(
        "libs/shared/pyproject.toml",
        '[project]\nname = "shared"\ndependencies = ["numpy"]\noptional-dependencies.plots = ["matplotlib"]\n',
    )
    assert of_project(None, tmp_path).lines == ("numpy", "matplotlib")


def test_a_package_of_the_projects_own_is_installed_from_its_folder(tmp_path: Path, write: Write) -> None:
    write("requirements.txt", "./libs/shared\nnumpy\n")
    folder = write("libs/shared/pyproject.toml", '[project]\nname = "shared"\n').parent
    assert of_project(None, tmp_path) == Wishes(lines=("numpy",), folders=(folder,))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("requirements.txt", "-r gone.txt\n./nowhere\n", "2 problems"),
        ("requirements.txt", "-r gone.txt\n./nowhere\n", "'./nowhere', which is neither a requirement nor something"),
        ("requirements.txt", "-e ./gone", "there is no pyproject.toml in"),
        ("pyproject.toml", "[project", "cannot be read"),
        ("pyproject.toml", '[project]\nname = "a"\ndynamic = ["dependencies"]\n', "requirements='requirements.txt'"),
    ],
)
def test_files_that_cannot_be_followed_are_named(tmp_path: Path, write: Write, name: str, text: str, said: str) -> None:
    write(name, text)
    with pytest.raises(StackError) as caught:
        of_project(None, tmp_path)
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_told_with_those_that_are(tmp_path: Path, write: Write) -> None:
    write("requirements.txt", "numpy")
    with pytest.raises(StackError, match=r"there is no such file.*There is requirements\.txt\."):
        of_project("requirement.txt", tmp_path)
    with pytest.raises(StackError, match="has no \\[project\\]"):
        of_project(str(write("other.toml", "[tool.x]\n")), tmp_path)


def test_a_project_is_called_as_it_says_or_as_its_folder(tmp_path: Path, write: Write) -> None:
    assert project_name(tmp_path) == tmp_path.name
    write("pyproject.toml", '[project]\nname = "Flight Delays"\n')
    assert project_name(tmp_path) == "Flight Delays"
