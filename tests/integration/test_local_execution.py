"""Whatever a step does to its process is told truthfully, and the other branches of the run complete."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import ctypes, json, os, subprocess, sys, time
from drystone import Resources, Stack, pipeline, step
from drystone.errors import RunFailedError
from drystone_local import LocalArtifactStore, LocalOrchestrator

@step
def fine(n: int) -> int:
    return n + 1

@step
def raising() -> int:
    raise ValueError("the wall fell")

@step
def mistyped() -> int:
    return "one"

@step(timeout=0.5)
def slow() -> int:
    time.sleep(600)

@step(resources=Resources(memory="150MiB"))
def greedy() -> int:
    held = b"x" * (400 << 20)
    time.sleep(600)

@step
def crashing() -> int:
    print("before the crash", flush=True)
    ctypes.string_at(0)

@step
def exiting() -> int:
    sys.exit(3)

@step
def vanishing() -> int:
    os._exit(7)

@step
def leaving() -> int:
    return subprocess.Popen(["sleep", "600"]).pid

@step
def wandering() -> str:
    os.chdir("/")
    os.environ["QUARRY"] = "Bath"
    return os.getcwd()

@step
def home(before: str) -> str:
    return f"{os.getcwd() == os.path.dirname(os.path.abspath(__file__))} {os.environ.get('QUARRY')} {before}"

@pipeline
def everything():
    first = fine(1)
    fine(first)
    for each in (raising, mistyped, slow, greedy, crashing, exiting, vanishing, leaving):
        each()
    home(wandering())

if __name__ == "__main__":
    local = Stack("p", orchestrator=LocalOrchestrator(isolation="process"), artifact_store=LocalArtifactStore())
    try:
        run = everything.with_options(stack=local)()
    except RunFailedError as exc:
        run = exc.run
    left = run.steps["leaving"].outputs["output"].load()
    try:
        os.kill(left, 0)
    except ProcessLookupError:
        left = "ended"
    print(json.dumps({
        "statuses": {name: each.status for name, each in run.steps.items()},
        "errors": {name: each.error for name, each in run.steps.items() if each.error},
        "where": sorted({each.where for each in run.steps.values()}),
        "home": run.steps["home"].outputs["output"].load(),
        "left": left,
        "log": run.steps["crashing"].logs(),
    }))
"""


def test_a_step_in_a_worker_fails_alone_and_for_what_it_did(project: Path, python) -> None:
    (project / "walls.py").write_text(SCRIPT)
    done = python("-W", "error", "walls.py")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    failed = {"raising", "mistyped", "slow", "greedy", "crashing", "exiting", "vanishing"}
    assert {name for name, status in told["statuses"].items() if status == "failed"} == failed
    assert {status for name, status in told["statuses"].items() if name not in failed} == {"succeeded"}
    said = {
        "raising": "the wall fell",
        "mistyped": "is annotated int, but is str",
        "slow": "took longer than its timeout of 0.5 s",
        "greedy": "its limit is 150 MiB",
        "crashing": "was ended by SIGSEGV (Segmentation fault)",
        "exiting": "SystemExit: 3",
        "vanishing": "exited with code 7 before the step was done",
    }
    assert {name: words in told["errors"][name] for name, words in said.items()} == dict.fromkeys(said, True)
    assert told["where"] == ["worker"]
    assert told["home"] == "True None /"
    assert told["left"] == "ended"
    assert "Step 'leaving' left 1 running behind, which had to be ended: sleep 600." in done.stderr
    assert told["log"].startswith("before the crash\n")
    assert "in crashing" in told["log"]


FILLING = """
import json
from pathlib import Path
from drystone import Stack, Workspace, pipeline, step
from drystone.errors import RunFailedError
from drystone_local import LocalArtifactStore, LocalOrchestrator

@step
def filling() -> int:
    return Path("scratch/file").write_bytes(bytes(8 << 20))

@step
def big(n: int) -> bytes:
    return bytes(range(256)) * (n << 12)

@step
def fine(n: int) -> int:
    return n + 1

@pipeline
def everything():
    filling()
    big(20)
    fine(fine(1))

if __name__ == "__main__":
    local = Stack("p", orchestrator=LocalOrchestrator(isolation="process"), artifact_store=LocalArtifactStore())
    try:
        everything.with_options(stack=local)()
    except RunFailedError as exc:
        run = exc.run
    print(json.dumps({
        "statuses": {name: each.status for name, each in run.steps.items()},
        "errors": {name: each.error for name, each in run.steps.items() if each.error},
        "verify": [str(each) for each in Workspace.current().verify()],
    }))
"""


def test_a_step_that_fills_the_disk_fails_alone(project: Path) -> None:
    small = project / "small"
    small.mkdir()
    (project / "filling.py").write_text(FILLING)
    mounted = (
        'mount -t tmpfs -o size=12m tmpfs "$0" && cp filling.py pyproject.toml "$0" && cd "$0" && mkdir scratch && '
        'mount -t tmpfs -o size=2m tmpfs scratch && exec "$@"'
    )
    own = [] if os.geteuid() == 0 else ["--map-root-user"]
    inside = ["unshare", "--mount", *own, "sh", "-c", mounted, str(small)]
    if subprocess.run([*inside, "true"], cwd=project, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    script = [*inside, sys.executable, "filling.py"]
    done = subprocess.run(script, cwd=project, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    statuses = {"filling": "failed", "big": "failed", "fine": "succeeded", "fine_2": "succeeded"}
    assert told["statuses"] == statuses, told["errors"]
    assert told["errors"]["filling"].rstrip().endswith("OSError: [Errno 28] No space left on device")
    assert "drystone.errors.ArtifactStoreError: The artifact store" in told["errors"]["big"]
    assert told["verify"] == []


THREADS = """
from drystone import Resources, Stack, pipeline, step
from drystone_local import LocalArtifactStore, LocalOrchestrator

def threads() -> int:
    import numpy
    import threadpoolctl
    numpy.ones((4, 4)) @ numpy.ones((4, 4))
    return max(each["num_threads"] for each in threadpoolctl.threadpool_info())

@step(resources=Resources(cpus=1))
def one() -> int:
    return threads()

@step(resources=Resources(cpus=2))
def two() -> int:
    return threads()

@pipeline
def counting():
    return one(), two()

if __name__ == "__main__":
    print([version.load() for version in counting().outputs.values()])
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has one thread")
def test_libraries_use_as_many_threads_as_a_step_declares_cores(project: Path, python) -> None:
    (project / "counting.py").write_text(THREADS)
    assert python("counting.py", OMP_NUM_THREADS="", OPENBLAS_NUM_THREADS="").stdout.splitlines()[-1] == "[1, 2]"


FLOODING = """
import ctypes
from drystone import Stack, pipeline, step
from drystone_local import LocalArtifactStore, LocalOrchestrator

FLOOD = b"for n in 1 2 3 4 5 6 7 8 9 10; do yes | head -c 30000000; sleep 0.3; done"

@step
def flooding() -> int:
    return ctypes.PyDLL(None).system(FLOOD)  # which keeps the interpreter's lock, so that no thread of Python runs

@pipeline
def flooded():
    return flooding()

if __name__ == "__main__":
    local = Stack("p", orchestrator=LocalOrchestrator(isolation="process"), artifact_store=LocalArtifactStore())
    flooded.with_options(stack=local)()
"""


def test_a_log_is_bounded_also_while_the_worker_cannot(project: Path) -> None:
    (project / "flooding.py").write_text(FLOODING)
    driver = subprocess.Popen([sys.executable, "flooding.py"], cwd=project, stdout=subprocess.DEVNULL)
    size = taken = 0
    while driver.poll() is None:
        for log in project.glob(".drystone/live/*/*.log"):
            with contextlib.suppress(FileNotFoundError):
                status = log.stat()
                size, taken = max(size, status.st_size), max(taken, status.st_blocks * 512)
        time.sleep(0.02)
    assert driver.returncode == 0
    assert size >= 270_000_000
    assert taken < 150_000_000
