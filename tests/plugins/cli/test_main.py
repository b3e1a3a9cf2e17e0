"""The command itself: its start, its help, commands of plugins."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from drystone_cli.main import COMMANDS, cli, main

HEAVY = {"drystone", "rich", "attrs", "attr", "cattrs", "pluggy", "fsspec", "numpy", "pandas", "sqlite3"}


def modules_after(*arguments: str) -> set[str]:
    """The modules that a command line has imported when it ends."""
    code = (
        f"import sys; from drystone_cli.main import main; main({list(arguments)}); print(*sys.modules, file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(found.stderr.split())


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_import_click_and_nothing_of_weight(argument):
    assert not HEAVY & modules_after(argument)


@pytest.mark.parametrize("name", ["runs", "models"])
def test_help_of_a_group_imports_neither_core_nor_rich(name):
    assert not {"drystone", "rich", "pluggy"} & modules_after(name, "--help")


def test_the_table_says_what_the_commands_say_of_themselves():
    context = click.Context(cli)
    for name, (_, text) in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            assert (command.help or "").splitlines()[0] == text


def test_every_command_takes_json():
    def leaves(command: click.Command) -> list[click.Command]:
        if isinstance(command, click.Group):
            return [leaf for each in command.commands.values() for leaf in leaves(each)]
        return [command]

    found = [leaf for name in COMMANDS for leaf in leaves(cli.get_command(click.Context(cli), name))]
    assert len(found) > 15
    for command in found:
        assert "--json" in [option for each in command.params for option in each.opts], command.name


def test_an_unknown_command_names_the_nearest(capsys):
    assert main(["runz"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: There is no command 'runz'. Did you mean 'run'? Commands: artifacts, ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("group", [[], ["runs"]])
def test_a_group_without_a_command_shows_its_help_and_nothing_else(group, capsys):
    main(group)
    out, err = capsys.readouterr()
    assert (out or err).startswith(" ".join(["Usage: drystone", *group, "[OPTIONS] COMMAND"]))
    assert "Error" not in out + err
    assert "See `" not in out + err


def test_wrong_usage_is_one_paragraph_and_exit_code_2(capsys):
    assert main(["run"]) == 2
    assert capsys.readouterr().err == "Error: Missing argument 'TARGET'. See `drystone run --help`.\n"


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """A distribution on the path that brings a command `board`."""
    (tmp_path / "boards.py").write_text(
        "import click\n\n@click.command()\ndef board():\n    print('a board')\n    return 3\n"
    )
    info = tmp_path / "boards-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: boards\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[drystone.commands]\nboard = boards:board\nbroken = boards:absent\nexits = exits\n"
    )
    (tmp_path / "exits.py").write_text("raise SystemExit('no licence')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("boards", None)


def test_help_lists_commands_of_plugins_without_importing_them(distribution, capsys):
    assert main(["--help"]) == 0
    assert re.search(r"board +From boards\.", capsys.readouterr().out)
    assert "boards" not in sys.modules


def test_a_command_of_a_plugin_runs_and_what_it_returns_is_no_exit_code(distribution, capsys):
    assert main(["board"]) == 0
    assert capsys.readouterr().out == "a board\n"


def test_a_broken_command_of_a_plugin_is_explained(distribution, capsys):
    assert main(["broken"]) == 1
    assert capsys.readouterr().err.startswith(
        "Error: The command 'broken' of boards cannot be loaded: AttributeError: "
    )


def test_a_command_that_exits_while_it_is_imported_is_explained(distribution, capsys):
    assert main(["exits"]) == 1
    assert "The command 'exits' of boards cannot be loaded: SystemExit: no licence" in capsys.readouterr().err


def test_the_shell_gets_a_completion_script():
    script = Path(sys.executable).with_name("drystone")
    environment = {**os.environ, "_DRYSTONE_COMPLETE": "bash_source"}
    found = subprocess.run([str(script)], capture_output=True, text=True, env=environment, check=True)
    assert "_drystone_completion" in found.stdout


def test_the_shell_completes_commands_and_names(project):
    script = str(Path(sys.executable).with_name("drystone"))

    def completed(words: str) -> list[str]:
        count = str(len(words.split(" ")) - 1)
        environment = {**os.environ, "_DRYSTONE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}
        found = subprocess.run([script], capture_output=True, text=True, env=environment, check=True)
        return found.stdout.split()

    assert completed("drystone pl") == ["plain,plan", "plain,plugins"]
    assert completed("drystone stacks use de") == ["plain,default"]
