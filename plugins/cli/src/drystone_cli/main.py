"""The `drystone` command: a table of what it can do. A command's own module is imported when that command runs."""

from __future__ import annotations

import functools
import io
import os
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from drystone_cli import extensions

COMMANDS = {
    "run": ("drystone_cli.running:run", "Run a pipeline."),
    "plan": ("drystone_cli.running:plan", "Say what a run would do, and why."),
    "why": ("drystone_cli.reasons:why", "Say why each step of a run ran, or did not."),
    "diff": ("drystone_cli.reasons:diff", "Say what differs between two runs."),
    "replay": ("drystone_cli.replaying:replay", "Run one step of a run again, on what it was given then."),
    "cancel": ("drystone_cli.running:cancel", "Cancel a run, wherever its driver runs."),
    "resume": ("drystone_cli.running:resume", "Go on with a run that crashed, failed or was cancelled."),
    "logs": ("drystone_cli.logs:logs", "Print what the steps of a run printed, or print."),
    "runs": ("drystone_cli.runs:runs", "List and show runs."),
    "artifacts": ("drystone_cli.artifacts:artifacts", "List, show, get and copy artifacts."),
    "models": ("drystone_cli.models:models", "Show models, compare their versions, promote the best."),
    "stacks": ("drystone_cli.stacks:stacks", "List, show, choose, check, compare and publish stacks."),
    "plugins": ("drystone_cli.plugins:plugins", "List plugins, find out what is wrong, write new ones."),
    "workspace": ("drystone_cli.workspaces:workspace", "Show, verify, rebuild and copy the workspace."),
    "cache": ("drystone_cli.caches:cache", "Show and clear the local cache of artifacts that are stored elsewhere."),
}

DEBUG = "--debug"

ARGUMENTS = "drystone_cli.arguments"
"""Where a command finds the whole command line that it was called with."""


class Commands(click.Group):
    """Knows every command by name and one line, and imports the one that is asked for."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse a command line, and keep it."""
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> int:
        """Run a command; returns the exit code, which is not what the command's function returns."""
        code = 0
        try:
            try:
                super().invoke(ctx)
            except click.exceptions.Exit as exc:
                code = exc.exit_code
            sys.stdout.flush()
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return code

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Our commands in the order of the table, then those of plugins."""
        return [*COMMANDS, *sorted({*extensions.named(), *(name for name, *_ in extensions.of_files())} - {*COMMANDS})]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in COMMANDS:
            module, attribute = COMMANDS[cmd_name][0].split(":")
            command: click.Command = getattr(import_module(module), attribute)
            return command
        return extensions.find(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])
        extra = {name: ", ".join(map(extensions.origin, entries)) for name, entries in extensions.named().items()}
        extra |= {name: os.path.basename(owner) for name, _, owner in extensions.of_files()}
        rows = [(name, f"From {extra[name]}.") for name in sorted(extra) if name not in COMMANDS]
        if rows:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a name that nobody has is answered with the nearest one."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from drystone import load_plugins
            from drystone.errors import suggestion

            hint = suggestion(args[0], self.list_commands(ctx), "Commands")
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}{load_plugins().absent()}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage; of `plan`: 0 nothing would run, 2 something would.",
)
@click.version_option(package_name="drystone-cli", prog_name="drystone", message="%(prog)s %(version)s")
@click.option(
    DEBUG, is_flag=True, expose_value=False, help="Show whole tracebacks; `run` opens the debugger where a step fails."
)
@click.option(
    "--plugin",
    type=click.Path(exists=True, dir_okay=False),
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=extensions.add_files,
    help="Load a Python file as a plugin; can be given several times.",
)
@click.option(
    "--no-plugins",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=extensions.block,
    help="Load no installed plugin.",
)
def cli() -> None:
    """Machine-learning pipelines on stacks of plugins."""


def _warned(otherwise: Callable[..., None], message: Warning | str, category: type, *where: Any, **told: Any) -> None:
    """Print what Drystone warns of as one line, since where in its own code it does tells nobody anything."""
    if category.__module__ == "drystone.errors":
        print(message, file=sys.stderr)
    else:
        otherwise(message, category, *where, **told)


def main(arguments: list[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack the arrows of a plan
    try:
        options: dict[str, Any] = {"prog_name": "drystone", "standalone_mode": False, "obj": DEBUG in given}
        with extensions.surroundings(), warnings.catch_warnings():
            warnings.showwarning = functools.partial(_warned, warnings.showwarning)
            return int(cli.main([each for each in given if each != DEBUG], **options))
    except (Exception, KeyboardInterrupt) as exc:
        from drystone_cli.failures import report

        return report(exc, debug=DEBUG in given)
