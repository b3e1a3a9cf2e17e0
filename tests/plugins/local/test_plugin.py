"""The local plugin offers its components and the stack that is used when no other was chosen."""

import re
import subprocess
import sys
from pathlib import Path

from drystone import Stack, find_stacks, load_plugins
from drystone_local import LocalArtifactStore, LocalOrchestrator

README = Path(__file__).parents[3] / "plugins/local/README.md"


def test_its_components_are_found_by_name():
    plugins = load_plugins()
    assert plugins.component("orchestrator", "local") is LocalOrchestrator
    assert plugins.component("artifact_store", "local") is LocalArtifactStore


def test_its_stack_is_the_default(tmp_path, monkeypatch):
    monkeypatch.delenv("DRYSTONE_STACK", raising=False)
    monkeypatch.delenv("DRYSTONE_WORKSPACE", raising=False)
    expected = Stack("default", orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())
    assert find_stacks(tmp_path).active() == expected


def test_importing_it_imports_neither_pluggy_nor_fsspec():
    probe = "import sys, drystone_local; print(sorted({'pluggy', 'fsspec', 'cattrs', 'numpy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_the_stack_in_the_readme_works(tmp_path, monkeypatch):
    monkeypatch.delenv("DRYSTONE_STACK", raising=False)
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "stacks.py").write_text(example)
    dev = find_stacks(tmp_path).active()
    assert dev.name == "dev"
    assert dev.artifact_store == LocalArtifactStore("~/artifacts/flights")


def test_the_readme_names_every_setting():
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", README.read_text(), re.MULTILINE)
    fields = {(cls.__name__, each) for cls in (LocalOrchestrator, LocalArtifactStore) for each in cls.__match_args__}
    assert set(rows) == fields | {("LocalOrchestrator", "workers"), ("LocalOrchestrator", "isolation")}
