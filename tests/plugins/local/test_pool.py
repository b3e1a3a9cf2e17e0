"""Worker processes: warm, crash-safe, watched over, and gone when their driver is."""

import itertools
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, wait
from importlib import import_module
from pathlib import Path

import pytest

from drystone import RunContext
from drystone.errors import MemoryLimitError, StepFailedError, StepTimeoutError, WorkerDiedError
from drystone_local.machines import Machine
from drystone_local.pools import Pool
from drystone_local.processes import LINUX, children

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no Windows yet")

SOURCE = '''
import ctypes, json, os, subprocess, sys, threading, time

IMPORTED = os.getpid()


def echo(text, ask=None):
    return text


def process(text, ask=None):
    return str(os.getpid())


def described(text, ask=None):
    names = json.loads(text)["names"]
    return json.dumps({
        "session": os.getsid(0) == os.getpid(),
        "input": sys.stdin.read(),
        "imported": IMPORTED == os.getpid(),
        "path": sys.path,
        "arguments": sys.argv,
        "directory": os.getcwd(),
        "environment": {name: os.environ.get(name) for name in names},
    })


def printing(text, ask=None):
    os.write(1, b"printed\\n")
    return text


def raising(text, ask=None):
    raise ValueError("the wall fell")


def exiting(text, ask=None):
    sys.exit(3)


def vanishing(text, ask=None):
    os._exit(7)


def crashing(text, ask=None):
    ctypes.string_at(0)


def killed(text, ask=None):
    os.kill(os.getpid(), 9)


def stuck(text, ask=None):
    """Note the processes of this step, then wait with the interpreter locked."""
    child = subprocess.Popen(["sleep", "600"])
    daemon = subprocess.Popen(["sleep", "600"], start_new_session=True)
    file = json.loads(text)["file"]
    with open(file + ".new", "w") as new:
        new.write(f"{os.getpid()} {child.pid} {daemon.pid}")
    os.rename(file + ".new", file)
    ctypes.PyDLL(None).sleep(600)


def daemons(text, ask=None):
    """Leave a child behind, and one that nobody here is the parent of."""
    child = subprocess.Popen(["sleep", "600"])
    shell = "setsid sleep 600 >/dev/null 2>&1 & echo $!"
    orphan = subprocess.run(["sh", "-c", shell], stdout=subprocess.PIPE, text=True).stdout
    return f"{os.getpid()} {child.pid} {orphan}"


def forking(text, ask=None):
    """Come back twice."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return str(child)


def greedy(text, ask=None):
    held = bytearray(json.loads(text)["bytes"])
    for index in range(0, len(held), 4096):
        held[index] = 1
    time.sleep(json.loads(text).get("pause", 0))
    return "done"


def mapped(text, ask=None):
    """Read a large file through memory."""
    import mmap
    with open(json.loads(text)["file"], "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
        total = sum(pages[index] for index in range(0, len(pages), 4096))
        time.sleep(0.3)
        return str(total)


def asking(text, ask=None):
    answers = []
    threads = [threading.Thread(target=lambda n=n: answers.append(ask(f"q{n}"))) for n in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return json.dumps(sorted(answers))


def together(text, ask=None):
    """End once as many are here at once as are expected."""
    said = json.loads(text)
    open(os.path.join(said["folder"], said["name"]), "w").close()
    while len(os.listdir(said["folder"])) < said["count"]:
        time.sleep(0.01)
    return "met"


def waiting(text, ask=None):
    """End when a file is there."""
    said = json.loads(text)
    if said.get("here"):
        open(said["here"], "w").close()
    while not os.path.exists(said["until"]):
        time.sleep(0.01)
    return "released"


def span(text, ask=None):
    began = time.monotonic()
    time.sleep(0.1)
    return json.dumps([began, time.monotonic()])


def random_number(text, ask=None):
    import numpy
    return str(numpy.random.random())
'''

MACHINE = Machine(4, 64 << 30, 1)

NAMES = (f"walls{number}" for number in range(10_000))


@pytest.fixture
def steps(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A module of a project, as the driver has imported it."""
    name = next(NAMES)
    (project / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(project))
    yield import_module(name)
    del sys.modules[name]


@pytest.fixture(params=[True, False] if LINUX else [False], ids=["fork", "spawn"] if LINUX else ["spawn"])
def fork(request) -> bool:
    return request.param


@pytest.fixture
def pool(steps) -> Iterator[Pool]:
    with pool_of(steps) as made:
        yield made


def pool_of(steps, workers=4, machine=MACHINE, answer=str.upper, **options) -> Pool:
    run = RunContext(run="r-1", pipeline="r", stack="local", steps=2, modules=(steps.__name__,), answer=answer)
    return Pool(run, workers, machine, **options)


def task(**values) -> str:
    return json.dumps({"step": "lay", **values})


def alive(process: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z" if LINUX else True
    except (OSError, ValueError):
        return False


def comes_true(claim: Callable[[], object], seconds: float = 5) -> bool:
    """Whether a claim becomes true in time."""
    until = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


# Working


def test_a_result_comes_back(steps, fork):
    with pool_of(steps, fork=fork) as pool:
        assert pool.submit(steps.echo, task(stone="ü")).result() == task(stone="ü")


def test_a_worker_is_reused(pool, steps):
    processes = {pool.submit(steps.process, task()).result() for _ in range(20)}
    assert len(processes) == 1
    assert processes != {str(os.getpid())}


def test_tasks_run_side_by_side(pool, steps, project):
    (project / "meeting").mkdir()
    where = {"folder": str(project / "meeting"), "count": 4}
    futures = [pool.submit(steps.together, json.dumps({"name": str(n), **where})) for n in range(4)]
    assert [each.result(30) for each in futures] == ["met"] * 4


def test_more_tasks_than_workers_take_turns(steps):
    with pool_of(steps, workers=3) as pool:
        processes = [each.result() for each in [pool.submit(steps.process, task()) for _ in range(200)]]
    assert 1 <= len({*processes}) <= 3


def test_a_module_is_imported_once_for_all_workers(pool, steps):
    said = json.loads(pool.submit(steps.described, task(names=[])).result())
    assert said["imported"] is not LINUX


def test_a_worker_sees_the_world_of_its_driver(steps, fork, monkeypatch):
    monkeypatch.setenv("QUARRY", "Bath")
    with pool_of(steps, fork=fork) as pool:
        said = json.loads(pool.submit(steps.described, task(names=["QUARRY"])).result())
    assert said["path"] == [*map(os.path.abspath, sys.path)]
    assert said["arguments"] == sys.argv
    assert said["directory"] == os.getcwd()
    assert said["environment"] == {"QUARRY": "Bath"}
    assert said["session"]
    assert said["input"] == ""


def test_what_workers_print_goes_where_the_driver_prints(steps, python):
    then = """
    import contextlib
    with contextlib.redirect_stdout(sys.stderr), pool:
        pool.submit(steps.printing, "{}").result()
    """
    done = python("-c", driver(steps, then))
    assert (done.stdout, done.stderr) == ("", "printed\n")


def test_a_working_directory_that_is_gone_does_no_harm(steps, project, monkeypatch):
    (project / "gone").mkdir()
    monkeypatch.chdir(project / "gone")
    (project / "gone").rmdir()
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    with pool_of(steps) as pool:
        assert pool.submit(steps.echo, task()).result() == task()
    monkeypatch.chdir(project)


def test_large_texts_pass(pool, steps):
    text = task(stones="x" * 20_000_000)
    assert pool.submit(steps.echo, text).result() == text


def test_a_step_may_ask_from_several_threads(pool, steps):
    assert json.loads(pool.submit(steps.asking, task()).result()) == [f"Q{n}" for n in range(8)]


def test_an_answer_that_fails_fails_in_the_step(steps):
    def refuse(question: str) -> str:
        raise LookupError("there is no such wall")

    with pool_of(steps, answer=refuse) as pool:
        trouble = pool.submit(steps.asking, task()).exception()
    assert trouble is None or "there is no such wall" in str(trouble)


def test_a_thousand_tasks_cost_well_under_a_millisecond_each(pool, steps):
    pool.submit(steps.echo, task()).result()
    spent = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(1000):
            pool.submit(steps.echo, task()).result()
        spent.append(time.perf_counter() - started)
    assert min(spent) < 1


def test_two_pools_do_not_disturb_each_other(steps):
    with pool_of(steps) as one, pool_of(steps) as other:
        first, second = one.submit(steps.process, task()), other.submit(steps.process, task())
        assert first.result() != second.result()
        one.shutdown()
        assert other.submit(steps.process, task()).result() == second.result()


def test_copies_of_a_process_draw_numbers_of_their_own(pool, steps, project):
    pytest.importorskip("numpy.random")
    (project / "numbers").mkdir()
    with pool_of(steps, workers=2) as other:
        drawn = {each.submit(steps.random_number, task()).result() for each in (pool, other)}
    assert len(drawn) == 2


def test_nothing_is_taken_after_the_end(steps):
    pool = pool_of(steps)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(steps.echo, task())


def test_no_process_file_or_thread_is_left(steps):
    files, threads = set(os.listdir("/dev/fd")), threading.active_count()
    others = children(os.getpid())  # of tests before this one, such as a tracker of multiprocessing
    with pool_of(steps) as pool:
        processes = {int(each.result()) for each in [pool.submit(steps.process, task()) for _ in range(20)]}
    assert not any(map(alive, processes))
    assert len(set(os.listdir("/dev/fd"))) == len(files)
    assert threading.active_count() == threads
    assert set(children(os.getpid())) <= set(others)


def test_a_shutdown_that_does_not_wait_lets_tasks_end(steps):
    pool = pool_of(steps, workers=1)
    futures = [pool.submit(steps.process, task()) for _ in range(5)]
    pool.shutdown(wait=False)
    assert len({each.result() for each in futures}) == 1
    pool.shutdown()


def test_a_shutdown_can_cancel_what_has_not_begun(steps, project):
    pool = pool_of(steps, workers=1)
    until, here = project / "until", project / "here"
    running = pool.submit(steps.waiting, json.dumps({"until": str(until), "here": str(here)}))
    waiting = [pool.submit(steps.echo, task()) for _ in range(3)]
    assert comes_true(here.exists)
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(each.cancelled() for each in waiting)
    until.touch()
    assert running.result() == "released"
    pool.shutdown()


# Failing


def test_what_a_function_raises_is_told_with_its_traceback(pool, steps):
    trouble = pool.submit(steps.raising, task()).exception()
    assert type(trouble) is StepFailedError
    assert 'raise ValueError("the wall fell")' in str(trouble)
    assert pool.submit(steps.echo, task()).result() == task()


def test_an_exit_is_a_failure_and_the_worker_stays(pool, steps):
    before = pool.submit(steps.process, task()).result()
    assert "SystemExit: 3" in str(pool.submit(steps.exiting, task()).exception())
    assert pool.submit(steps.process, task()).result() == before


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("vanishing", "exited with code 7 before the step was done. Something in it called os._exit"),
        ("crashing", "was ended by SIGSEGV (Segmentation fault). Where it was then is at the end of the step's log"),
        ("killed", "was killed (SIGKILL), and not by Drystone: by somebody, or by the system because memory ran out"),
    ],
)
def test_a_death_fails_its_own_task_alone(steps, project, function, words):
    with pool_of(steps, workers=2) as pool:
        until = project / "until"
        other = pool.submit(steps.waiting, json.dumps({"until": str(until)}))
        trouble = pool.submit(getattr(steps, function), task()).exception()
        assert type(trouble) is WorkerDiedError
        assert str(trouble).startswith(f"The process that ran step 'lay' {words}")
        assert pool.submit(steps.echo, task()).result() == task()
        assert not other.done()
        until.touch()
        assert other.result() == "released"


def test_a_killed_worker_is_replaced(pool, steps):
    process = int(pool.submit(steps.process, task()).result())
    os.kill(process, signal.SIGKILL)
    assert comes_true(lambda: not alive(process))
    for _ in range(20):  # whoever gets the dead one is told so; everybody else is served
        future = pool.submit(steps.process, task())
        if future.exception() is None:
            break
    assert future.result() != str(process)


def test_a_timeout_ends_the_step_and_all_it_started(pool, steps, project):
    file = project / "processes"
    began = time.monotonic()
    trouble = pool.submit(steps.stuck, task(file=str(file), timeout=1)).exception()
    assert 1 <= time.monotonic() - began < 3
    assert type(trouble) is StepTimeoutError
    assert str(trouble) == (
        "Step 'lay' took longer than its timeout of 1 s. It was ended, with everything it had started."
    )
    assert comes_true(lambda: not any(map(alive, map(int, file.read_text().split()))))


def test_the_clock_of_a_timeout_starts_with_the_task(steps, project):
    with pool_of(steps, workers=1) as pool:
        first = pool.submit(steps.waiting, json.dumps({"until": str(project / "until")}))
        second = pool.submit(steps.echo, task(timeout=0.2))
        with pytest.raises(TimeoutError):
            second.result(0.4)
        (project / "until").touch()
        assert (first.result(), second.result()) == ("released", task(timeout=0.2))


def test_a_step_that_takes_too_much_memory_is_ended(pool, steps):
    needs = {"cpus": None, "memory": 200 << 20, "gpus": None}
    trouble = pool.submit(steps.greedy, task(bytes=600 << 20, pause=60, resources=needs)).exception()
    assert type(trouble) is MemoryLimitError
    assert str(trouble).startswith("Step 'lay' used ")
    assert "its limit is 200 MiB. It was ended, with everything it had started. Give it more" in str(trouble)


def test_a_step_may_take_what_it_declared_and_map_any_file(pool, steps, project):
    needs = {"memory": 200 << 20}
    with open(project / "large", "wb") as file:
        file.truncate(500 << 20)
    futures = [
        pool.submit(steps.greedy, task(bytes=100 << 20, pause=0.3, resources=needs)),
        pool.submit(steps.mapped, task(file=str(project / "large"), resources=needs)),
    ]
    assert [each.result() for each in futures] == ["done", "0"]


def test_what_a_step_leaves_is_ended_and_told(pool, steps, caplog):
    with caplog.at_level(logging.WARNING):
        worker, child, *orphans = map(int, pool.submit(steps.daemons, task()).result().split())
    assert not alive(child)
    assert comes_true(lambda: not any(map(alive, orphans)))
    assert "Step 'lay' left 2 running behind, which had to be ended: sleep 600, " in caplog.text
    assert pool.submit(steps.process, task()).result() != str(worker)


def test_a_step_that_forks_comes_back_once(pool, steps):
    assert pool.submit(steps.forking, task()).result() != "0"
    assert pool.submit(steps.echo, task()).result() == task()


# Cancelling


def test_cancelling_a_running_task_kills_it(pool, steps, project):
    file = project / "processes"
    future = pool.submit(steps.stuck, task(file=str(file)))
    assert comes_true(file.exists, 30)
    assert future.cancel()
    assert not wait([future], 5).not_done
    assert future.cancelled()
    with pytest.raises(CancelledError):
        future.result()
    assert comes_true(lambda: not any(map(alive, map(int, file.read_text().split()))))
    assert pool.submit(steps.echo, task()).result() == task()


def test_cancelling_a_waiting_task_keeps_it_from_running(steps, project):
    with pool_of(steps, workers=1) as pool:
        running = pool.submit(steps.waiting, json.dumps({"until": str(project / "until")}))
        waiting = pool.submit(steps.waiting, json.dumps({"until": "/", "here": str(project / "ran")}))
        assert waiting.cancel()
        assert waiting.cancelled()
        (project / "until").touch()
        assert running.result() == "released"
        assert pool.submit(steps.echo, task()).result() == task()
    assert not (project / "ran").exists()


def test_a_task_that_is_done_cannot_be_cancelled(pool, steps):
    future = pool.submit(steps.echo, task())
    assert future.result() == task()
    assert not future.cancel()
    assert not future.cancelled()


# Sharing the machine


def overlap(spans: list[list[float]]) -> bool:
    ordered = sorted(spans)
    return any(one[1] > other[0] for one, other in itertools.pairwise(ordered))


@pytest.mark.parametrize("needs", [{"cpus": 2}, {"memory": 600}, {"gpus": 1}, {"cpus": 64}])
def test_steps_that_declare_more_than_there_is_in_sum_take_turns(steps, needs):
    limits = {"memory": 64 << 30} if "memory" not in needs else {}
    machine = Machine(3, 1 << 40, 1) if "memory" not in needs else Machine(3, (600 << 30) + 1, 1)
    resources = {name: value << 30 if name == "memory" else value for name, value in needs.items()} | limits
    with pool_of(steps, machine=machine) as pool:
        futures = [pool.submit(steps.span, task(resources=resources)) for _ in range(3)]
        assert not overlap([json.loads(each.result()) for each in futures])


def test_a_step_that_declares_nothing_does_not_wait_for_one_that_does(steps, project):
    with pool_of(steps) as pool:
        until = str(project / "until")
        demanding = [pool.submit(steps.waiting, task(until=until, resources={"cpus": 4})) for _ in range(2)]
        assert pool.submit(steps.echo, task()).result() == task()
        (project / "until").touch()
        assert [each.result() for each in demanding] == ["released"] * 2


def test_libraries_are_told_how_many_threads_to_use(steps, monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS"]
    with pool_of(steps, workers=2, machine=Machine(8, 1 << 40, 1)) as pool:
        usual, declared, most = (
            json.loads(pool.submit(steps.described, task(names=names, resources={"cpus": cpus})).result())
            for cpus in (None, 2.5, 32)
        )
    assert usual["environment"] == {"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "5"}
    assert declared["environment"] == {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3"}
    assert most["environment"] == {"OMP_NUM_THREADS": "8", "MKL_NUM_THREADS": "8"}


# Importing


@pytest.mark.parametrize(
    "line",
    [
        'print("I am imported"); raise SystemExit(1)',
        'raise RuntimeError("not today")',
        "import os; os._exit(5)",
        "import ctypes; ctypes.string_at(0)",
        "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    ],
)
def test_a_module_that_cannot_be_imported_ahead_is_imported_by_the_task(steps, project, line, capfd):
    condition = f"import sys, pathlib\nif pathlib.Path({str(project / 'bad')!r}).exists():\n    "
    (project / f"{steps.__name__}.py").write_text(f"{condition}{line}\n{SOURCE}")
    (project / "bad").touch()
    with pool_of(steps) as pool:
        future = pool.submit(steps.process, task())
        if "Thread" in line:
            assert future.result() != str(os.getpid())
        else:
            assert isinstance(future.exception(), StepFailedError)
        (project / "bad").unlink()
        assert pool.submit(steps.process, task()).result()
    assert "I am imported" not in capfd.readouterr().out.replace("I am imported", "", 1)


def test_a_file_that_no_import_would_find_is_found(project, monkeypatch, fork):
    (project / "a.b").mkdir()
    (project / "a.b" / "my-script.py").write_text(SOURCE)
    from drystone_local.templates import _Files, _Folders

    files = {"a.b.my-script": str(project / "a.b" / "my-script.py")}
    monkeypatch.setattr(sys, "meta_path", [_Files(files), *sys.meta_path, _Folders(files)])
    module = import_module("a.b.my-script")
    try:
        with pool_of(module, fork=fork) as pool:
            assert pool.submit(module.echo, task()).result() == task()
    finally:
        for name in ("a", "a.b", "a.b.my-script"):
            sys.modules.pop(name, None)


# The driver's death


DRIVER = """
import os, sys, warnings
warnings.simplefilter("error")
from drystone import RunContext
from drystone_local.machines import this_machine
from drystone_local.pools import Pool
import {module} as steps

run = RunContext(run="r-1", pipeline="r", stack="s", steps=2, modules=("{module}",))
pool = Pool(run, 4, this_machine(), fork={fork})
{then}
"""


def driver(steps, then: str, fork: bool = LINUX) -> str:
    return DRIVER.format(module=steps.__name__, fork=fork, then=textwrap.dedent(then))


@pytest.mark.parametrize("moment", ["working", "importing"])
def test_no_process_outlives_a_driver_that_is_killed(steps, project, fork, moment):
    if moment == "importing":
        slow = "open('importing', 'w').write(str(os.getpid())); time.sleep(60)"
        slow = f"import os, time\nif os.getppid() != {os.getpid()}: {slow}\n"
        (project / f"{steps.__name__}.py").write_text(slow + SOURCE)
    code = driver(
        steps,
        """
        for number in range(2):
            pool.submit(steps.stuck, '{"file": "processes%d"}' % number)
        pool.submit(steps.echo, "{}").result()
        os.read(0, 1)
        """,
        fork,
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    files = [project / name for name in (["importing"] if moment == "importing" else ["processes0", "processes1"])]
    try:
        assert comes_true(lambda: all(each.exists() and each.read_text() for each in files), 30)
        started = [int(number) for file in files for number in file.read_text().split()]
        assert all(map(alive, started))
    finally:
        process.kill()
        process.communicate()
    assert comes_true(lambda: not any(map(alive, started)), 5)


def test_ctrl_c_does_not_reach_workers(pool, steps, project):
    here, until = project / "here", project / "until"
    future = pool.submit(steps.waiting, json.dumps({"here": str(here), "until": str(until)}))
    assert comes_true(here.exists, 30)
    worker = next(iter(pool._busy)).process
    assert worker is not None
    assert os.getpgid(worker) != os.getpgid(0)
    assert os.getsid(worker) == worker
    until.touch()
    assert future.result() == "released"


@pytest.mark.parametrize(
    "then",
    [
        'print(pool.submit(steps.echo, "{}").result())',
        'pool.submit(steps.echo, "{}"); print("{}")',
        'pool.submit(steps.stuck, \'{"file": "x"}\'); print("{}")',
        'os.fork() or os._exit(0); os.wait(); print(pool.submit(steps.echo, "{}").result())',
        'with pool: print(pool.submit(steps.echo, "{}").result())',
    ],
)
def test_a_driver_that_just_ends_leaves_nothing_and_says_nothing(steps, python, then):
    done = python("-W", "error", "-c", driver(steps, then))
    assert (done.stdout, done.stderr, done.returncode) == ("{}\n", "", 0)


def test_a_fork_of_the_driver_does_not_keep_workers_alive(steps, project, python):
    then = """
    with pool:
        pool.submit(steps.echo, "{}").result()
        child = os.fork()
        if not child:
            os.read(os.open("fifo", os.O_RDONLY), 1)
            os._exit(0)
        process = int(pool.submit(steps.process, "{}").result())
    try:
        os.kill(process, 0)
        print("alive")
    except ProcessLookupError:
        print("gone")
    os.close(os.open("fifo", os.O_WRONLY))
    os.wait()
    """
    os.mkfifo(project / "fifo")
    done = python("-c", driver(steps, then))
    assert done.stdout == "gone\n", done.stderr


def test_a_warden_that_dies_fails_its_tasks_and_is_replaced(pool, steps, project):
    here = project / "here"
    future = pool.submit(steps.waiting, json.dumps({"here": str(here), "until": "/nowhere"}))
    assert comes_true(here.exists, 30)
    pool._crews[None]._warden.kill()
    assert repr(future.exception(10)) == (
        "WorkerDiedError(\"The process that ran step 'steps' was ended: the one that starts and ends workers died.\")"
    ).replace("steps", f"{steps.__name__}:waiting")
    assert pool.submit(steps.echo, task()).result() == task()
