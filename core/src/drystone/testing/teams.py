"""A team at work: processes with a home each, which share nothing but a workspace and an artifact store."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from drystone.projects import HOME
from drystone.workspaces import Workspace

PROJECT = """
import sys
from typing import Annotated

from drystone import Model, pipeline, step


@step
def first(who: str, number: int) -> Annotated[int, "own"]:
    return number


@step
def second(x: int) -> Annotated[int, "common"]:
    return x + 1


@pipeline(model=Model("team"))
def work(who: str, number: int) -> int:
    return second(first(who, number))


if __name__ == "__main__":
    for number in range(int(sys.argv[2])):
        run = work(who=sys.argv[1], number=number)
        assert run.status == "succeeded", run
        print(run.name, run.model_version.number, flush=True)
"""
"""A pipeline of two steps, run so many times by somebody. The second makes what the others make as well."""


class Team:
    """Those who work in one project on one workspace.

    Args:
        folder: Where the project is, and everybody's home.
        stacks: The text of `stacks.py`; its default stack stores artifacts where everybody reaches them.
        url: Of the workspace; None if `stacks.py` says where that is.
        environment: What their processes are given besides, such as credentials.
        one_home: Whether they work on one machine, as one user.
    """

    def __init__(
        self,
        folder: Path,
        stacks: str,
        url: str | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        one_home: bool = False,
    ) -> None:
        self.folder, self._one_home = folder, one_home
        self._shared = {**(environment or {}), **({} if url is None else {HOME: url})}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stacks.py").write_text(stacks)
        (folder / "work.py").write_text(PROJECT)

    def environment(self, who: str) -> dict[str, str]:
        """The environment of somebody's processes."""
        home = self.folder / "homes" / ("all" if self._one_home else who)
        return {**os.environ, **self._shared, "XDG_CACHE_HOME": str(home)}

    def start(self, who: str, *words: str) -> subprocess.Popen[str]:
        """Start a Python process of somebody's."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, *words], cwd=self.folder, env=self.environment(who), stdout=pipe, stderr=pipe, text=True
        )

    def work(self, people: int, runs: int) -> list[tuple[str, int]]:
        """Run the pipeline so many times each, all at once; returns the runs with their model versions.

        Raises:
            AssertionError: Somebody failed, or the numbers are not dense and unique.
        """
        names = [f"p{number}" for number in range(people)]
        processes = [self.start(who, "work.py", who, str(runs)) for who in names]
        told = [process.communicate() for process in processes]
        failed = [err for process, (_, err) in zip(processes, told, strict=True) if process.returncode]
        assert not failed, f"{len(failed)} of {people} failed, such as: {failed[0]}"
        done = [(line.split()[0], int(line.split()[1])) for out, _ in told for line in out.splitlines()]
        expected = range(1, people * runs + 1)
        assert sorted(int(run.rpartition("-")[2]) for run, _ in done) == [*expected], "runs must be dense and unique"
        assert sorted(number for _, number in done) == [*expected], "model versions must be dense and unique"
        return done

    def check(self, people: int, runs: int, of: int | None = None) -> None:
        """Look at the workspace from so many homes, after so many people, by default as many, had so many runs each.

        Raises:
            AssertionError: Something is wrong with it, or it is not the same for all.
        """
        looks = [self.start(f"p{number}", "-c", _LOOK) for number in range(people)]
        seen = [look.communicate() for look in looks]
        assert all(look.returncode == 0 for look in looks), seen
        assert len({out for out, _ in seen}) == 1, "the index must be the same for all"
        findings, own, common, statuses, _ = seen[0][0].splitlines()
        assert findings == "[]", findings
        assert own == str([*range(1, (of or people) * runs + 1)]), "artifact versions must be dense and unique"
        assert common == str([*range(1, runs + 1)]), "what several ask for must be computed once"
        assert statuses == "['succeeded']", statuses


_LOOK = "from drystone.testing.teams import look; look()"


def look() -> None:
    """Print what the workspace of this project says: what is wrong, versions, statuses, and every row of its index."""
    workspace = Workspace.current()
    told: list[object] = [[str(each) for each in workspace.verify()]]
    told += [sorted(each.version for each in workspace.artifacts(name=name, limit=None)) for name in ("own", "common")]
    told.append(sorted({each.status for each in workspace.runs(limit=None)}))
    with workspace.reading() as records:
        tables = records.index.tables()
        told.append([sorted(map(repr, records.index.rows(table))) for table in tables])
    print(*told, sep="\n")  # noqa: T201 - the parent reads it
