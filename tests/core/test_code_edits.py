"""Edits of code, one at a time: which of them a step's closure must see, and which it must not.

The cases are in `edits/`. Each has a name, the text of the step's module and of those below `--- path`; `«one¦other»`
is what the edit changes. The step is called `probed`. Files that end in `_312` need Python 3.12.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drystone.fingerprints import Fingerprints

Digests = Callable[[str, int], dict[str, str | None]]

HERE = Path(__file__).with_name("edits")
TOP = ("extra", "lib", "pkg", "two")
OTHER = "\n@step\ndef other(x: int):\n    return x\n"


def cases(kind: str) -> list[pytest.ParameterSet]:
    texts = [HERE / f"{kind}.txt", HERE / f"{kind}_312.txt"]
    known = [text for text in texts if text.exists() and (sys.version_info >= (3, 12) or "_312" not in text.name)]
    blocks = [block for text in known for block in re.split(r"^=== ", text.read_text(), flags=re.MULTILINE)[1:]]
    return [pytest.param(block, id=block.partition("\n")[0]) for block in blocks]


def files(case: str, side: int) -> dict[str, str]:
    """What the files of a case say before the edit (0) or after it (1)."""
    name, _, text = case.partition("\n")
    text = re.sub("«(.*?)¦(.*?)»", lambda found: str(found[side + 1]), text, flags=re.DOTALL)
    first, *more = re.split(r"^--- (\S+)\n", text, flags=re.MULTILINE)
    future = "from __future__ import annotations\n" if "FUTURE" in name else ""
    step = f"{future}from drystone.pipelines import step\n{first}{OTHER}"
    return {"extra.py": step, **dict(zip(more[::2], more[1::2], strict=True))}


@pytest.fixture
def digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Digests]:
    """Writes one side of a case, loads it, and takes the digests of its two steps."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # bytecode would hide a second edit within a second
    monkeypatch.syspath_prepend(str(tmp_path))

    def unload() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] in TOP]:
            del sys.modules[name]

    def taken(case: str, side: int) -> dict[str, str | None]:
        unload()
        for name, text in files(case, side).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        importlib.invalidate_caches()
        module, fingerprints = importlib.import_module("extra"), Fingerprints(tmp_path)
        found = {name: fingerprints.closure(getattr(module, name)) for name in ("probed", "other")}
        assert [each.problems + each.edited for each in found.values()] == [(), ()]
        return {name: each.digest for name, each in found.items()}

    yield taken
    unload()
    del sys.path_importer_cache[str(tmp_path)]


def changed(digests: Digests, case: str) -> set[str]:
    """The steps whose digest the edit changed, and changed back."""
    before, after, again = digests(case, 0), digests(case, 1), digests(case, 0)
    assert before == again
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize("case", cases("seen"))
def test_an_edit_that_can_change_a_result_is_seen(digests: Digests, case: str) -> None:
    assert changed(digests, case) == {"probed"}


@pytest.mark.parametrize("case", cases("cosmetic"))
def test_an_edit_of_layout_or_of_what_is_not_reached_is_not_seen(digests: Digests, case: str) -> None:
    assert changed(digests, case) == set()


@pytest.mark.parametrize("case", cases("hole"))
def test_an_edit_that_docs_reference_cache_limits_names_is_not_seen(digests: Digests, case: str) -> None:
    assert changed(digests, case) == set()


EVERY = """
import importlib, json, pathlib, sys
from drystone.fingerprints import Fingerprints
sys.dont_write_bytecode = True
found = []
for folder in sorted(pathlib.Path.cwd().iterdir(), key=lambda folder: int(folder.name)):
    sys.path[0] = str(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("extra", "lib", "pkg", "two")]:
        del sys.modules[name]
    found.append(Fingerprints(folder).closure(importlib.import_module("extra").probed).digest)
print(json.dumps(found))
"""


def test_another_process_and_hash_seed_see_the_same(tmp_path: Path) -> None:
    every = [str(case.values[0]) for case in (*cases("seen"), *cases("cosmetic"))]
    for number, case in enumerate(every):
        for name, text in files(case, 1).items():
            path = tmp_path / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    one, two = (
        json.loads(
            subprocess.check_output(
                [sys.executable, "-c", EVERY], cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": seed}, text=True
            )
        )
        for seed in ("1", "2")
    )
    assert len(one) == len(every)
    assert [case.partition("\n")[0] for case, a, b in zip(every, one, two, strict=True) if a != b] == []
