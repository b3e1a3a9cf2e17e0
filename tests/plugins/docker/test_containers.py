"""A container runs one command: what it sees, what it prints, how it ends, and that nothing is left of it."""

import getpass
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from drystone import Resources, Secret
from drystone.errors import EngineError, MemoryLimitError, StackError, WorkerDiedError
from drystone_docker import containers
from drystone_docker.labels import TASK
from services.containers import Ended, ended

SURROUNDINGS = """
import getpass, json, os, pathlib
pathlib.Path("written").write_text("")
print(json.dumps([os.getuid(), os.getgid(), str(pathlib.Path.home()), getpass.getuser(), os.getcwd()]))
"""


def test_output_of_both_streams_arrives_in_order_and_whole(run):
    code = "import sys\nfor i in range(200):\n  print(i)\n  print(-i, file=sys.stderr)"
    ended = run(code)
    assert ended.code == 0
    assert ended.output.decode().split() == [text for i in range(200) for text in (str(i), str(-i))]


def test_a_flood_arrives_whole(run):
    ended = run("for i in range(2_000_000): print(i)", told={"PYTHONUNBUFFERED": ""})
    assert ended.output == "".join(f"{i}\n" for i in range(2_000_000)).encode()


def test_a_command_may_say_nothing(run, containers_left, uri):
    ended = run("pass")
    assert (ended.code, ended.output) == (0, b"")
    assert containers_left(uri) == []


def test_output_is_live(launch):
    job = launch("import time; print('now'); time.sleep(600)")
    assert next(job.logs()).startswith(b"now")
    job.cancel()
    assert job.wait() == -9


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("raise SystemExit(3)", 3),
        ("import os; os._exit(7)", 7),
        ("import os; os.kill(os.getpid(), 11)", -11),
        ("import os; os.kill(os.getpid(), 9)", -9),
    ],
)
def test_the_end_is_told_as_it_was(run, containers_left, uri, code, exit_code):
    assert run(code).code == exit_code
    assert containers_left(uri) == []


def test_too_much_memory_is_named(run, containers_left, uri):
    error = run("print(len(bytearray(1 << 28)))", Resources(memory="64MiB")).code
    assert isinstance(error, MemoryLimitError)
    assert "took more memory than the 64 MiB that it may" in str(error)
    assert "exit code 137" in str(error)
    assert "resources=Resources(memory=" in str(error)
    assert containers_left(uri) == []


def test_memory_of_the_orchestrator_is_for_steps_that_declare_none(run):
    assert isinstance(run("bytearray(1 << 28)", memory="64MiB").code, MemoryLimitError)
    assert run("bytearray(1 << 28)", Resources(memory="512MiB"), memory="64MiB").code == 0


def test_cores_are_limited_and_libraries_told(run, launch, orchestrator, uri):
    assert run("import os; print(os.environ['OMP_NUM_THREADS'])", Resources(cpus=1.5)).output == b"1\n"
    job = launch("import time; time.sleep(600)", cpus=0.5, memory="1GiB")
    limits = orchestrator().engine.api.inspect_container(job.id)["HostConfig"]
    assert (limits["NanoCpus"], limits["Memory"], limits["MemorySwap"], limits["ShmSize"]) == (
        500_000_000,
        1 << 30,
        1 << 30,
        1 << 29,
    )
    job.cancel()
    job.wait()


def test_more_cores_than_there_are_is_all_of_them(run):
    assert run("pass", Resources(cpus=4096)).code == 0


def test_gpus_that_are_not_there_are_named(launch, containers_left, uri):
    with pytest.raises(EngineError, match="has no GPUs to give"):
        launch("pass", Resources(gpus=1))
    assert containers_left(uri) == []


def test_cancel_ends_everything_at_once_and_may_be_repeated(launch, containers_left, uri):
    job = launch("import subprocess; print('on', flush=True); subprocess.run(['sleep', '600'])")
    assert next(job.logs())
    before = time.monotonic()
    threads = [threading.Thread(target=job.cancel) for _ in range(3)]
    for each in threads:
        each.start()
    assert job.wait() == -9
    for each in threads:
        each.join()
    job.cancel()
    assert time.monotonic() - before < 10
    assert containers_left(uri) == []


def test_a_container_that_somebody_removes_is_missed(launch, orchestrator):
    job = launch("import time; time.sleep(600)")
    orchestrator().engine.api.remove_container(job.id, force=True)
    with pytest.raises(WorkerDiedError, match="was removed while it ran"):
        job.wait()


def test_a_container_may_run_longer_than_the_engine_takes_to_answer(run, monkeypatch):
    monkeypatch.setattr(containers, "ASKED_AGAIN", 0.2)
    assert run("import time; print(1); time.sleep(2); print(2)").output == b"1\n2\n"


# Those that have failed, and those of others


def test_a_failed_container_is_kept_if_asked_for(launch, orchestrator, uri, containers_left, caplog):
    job = launch("print('broken'); raise SystemExit(1)", keep_failed=True)
    assert ended(job).code == 1
    (name,) = containers_left(uri)
    assert name == f"/{job.name}-failed"
    assert f"`docker logs {job.name}-failed` shows what it printed" in caplog.text
    assert orchestrator().engine.api.logs(job.id) == b"broken\n"
    assert orchestrator(keep_failed=True).jobs(uri) == {}, "it would be taken for one that still has to be waited for"
    assert ended(launch("pass", keep_failed=True)).code == 0
    assert containers_left(uri) == [name]


@pytest.mark.parametrize("code", ["import time; print('early'); time.sleep(600)", "print('early')"])
def test_jobs_of_another_driver_are_found_with_all_their_output(launch, orchestrator, uri, containers_left, code):
    own = launch(code)
    assert next(own.logs())
    there = orchestrator().jobs(uri.removesuffix("train/1/task.json"))
    assert list(there) == [uri]
    logs = there[uri].logs()
    assert next(logs).startswith(b"early")
    there[uri].cancel()
    assert list(logs) in ([], [b"\n"])
    assert there[uri].wait() in (0, -9)
    assert containers_left(uri) == []
    assert orchestrator().jobs(uri) == {}
    assert orchestrator().jobs("test://nothing") == {}


def test_a_container_that_was_never_started_ran_nothing(orchestrator, uri, plain_image, containers_left):
    orchestrator().engine.api.create_container(plain_image, ["true"], labels={TASK: uri})
    with pytest.raises(WorkerDiedError, match="was never started"):
        orchestrator().jobs(uri)[uri].wait()
    assert containers_left(uri) == []


def test_a_driver_that_is_killed_leaves_a_job_that_goes_on(orchestrator, plain_image, base_image, uri, containers_left):
    containers_left(uri)
    code = f"""
import os, signal
from services.containers import PlainOrchestrator
orchestrator = PlainOrchestrator(ready={plain_image!r}, base_image={base_image!r})
command = ("python", "-c", "import time; print(1, flush=True); time.sleep(3); print(2)")
next(orchestrator.launch({uri!r}, command, None, {{}}, {{}}).logs())
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == -9
    assert ended(orchestrator().jobs(uri)[uri]) == Ended(0, b"1\n2\n")
    assert containers_left(uri) == []


# Who it is, and what it sees


@pytest.mark.parametrize("user", ["4321:4321", "0:0"])
def test_any_user_has_a_home_a_name_and_a_directory(run, user):
    uid, gid, home, name, directory = json.loads(run(SURROUNDINGS, user=user).output)
    assert (f"{uid}:{gid}", home, directory) == (user, "/tmp/drystone", "/tmp/drystone")
    assert name == getpass.getuser()


def test_steps_run_as_the_driver(run):
    assert json.loads(run(SURROUNDINGS).output)[:2] == [os.getuid(), os.getgid()]


def test_files_written_on_this_machine_belong_to_the_user(run, tmp_path):
    tmp_path.chmod(0o777)
    code = "import os; open('/there/file', 'w'); os.mkdir('/there/folder')"
    assert run(code, user="4321:4321", volumes={str(tmp_path): "/there"}).code == 0
    assert {(each.name, each.stat().st_uid) for each in tmp_path.iterdir()} == {("file", 4321), ("folder", 4321)}


def test_volumes_may_be_read_only(run, tmp_path):
    (tmp_path / "data").write_text("here")
    assert run("print(open('/there/data').read())", volumes={str(tmp_path): "/there:ro"}).output == b"here\n"
    assert b"Read-only file system" in run("open('/there/new', 'w')", volumes={str(tmp_path): "/there:ro"}).output


def test_a_volume_that_is_not_there_is_not_made(launch, tmp_path):
    with pytest.raises(StackError, match=r"volumes names .*/absent, which is not there"):
        launch("pass", volumes={f"{tmp_path}/absent": "/there"})
    assert not (tmp_path / "absent").exists()


def test_a_network_can_be_chosen(run, launch):
    code = "import socket; print([name for _, name in socket.if_nameindex()])"
    assert run(code, network="none").output == b"['lo']\n"
    with pytest.raises(EngineError, match="has no such network"):
        launch("pass", network="drystone-absent")


def test_a_container_is_called_and_labelled_by_what_it_runs(launch, orchestrator, uri):
    told = {"DRYSTONE_RUN": "training-7", "DRYSTONE_PIPELINE": "training", "DRYSTONE_STEP": "fit[3]"}
    job = launch("import time; time.sleep(600)", told=told)
    found = orchestrator().engine.api.inspect_container(job.id)
    assert found["Name"].startswith("/drystone-training-7-fit-3-1-")
    labels = {name: text for name, text in found["Config"]["Labels"].items() if name.startswith("org.drystone.")}
    assert labels.pop("org.drystone.driver").endswith(f":{os.getpid()}")
    assert labels.pop(TASK) == uri
    assert labels == {
        "org.drystone.run": "training-7",
        "org.drystone.pipeline": "training",
        "org.drystone.step": "fit[3]",
        "org.drystone.attempt": "1",
        "org.drystone.tests": "containers",
    }
    job.cancel()
    job.wait()


# Secrets


def test_secrets_are_handed_over_and_stand_nowhere(launch, orchestrator, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "from the driver")
    job = launch(
        "import json, os, sys; print(json.dumps([[*sys.stdin], dict(os.environ)]))",
        secrets={"env:S3_KEY": "from the store"},
        environment={"PLAIN": "plain", "API_TOKEN": Secret("env:API_TOKEN")},
    )
    inspected = json.dumps(orchestrator().engine.api.inspect_container(job.id))
    lines, variables = json.loads(ended(job).output)
    assert [json.loads(line) for line in lines] == [
        {"env:S3_KEY": "from the store", "env:API_TOKEN": "from the driver"}
    ]
    assert variables["DRYSTONE_SECRETS"] == "-"
    assert json.loads(variables["DRYSTONE_SECRET_ENVIRONMENT"]) == {"API_TOKEN": "env:API_TOKEN"}
    assert variables["PLAIN"] == "plain"
    assert "from the" not in inspected + str(variables)


def test_without_secrets_standard_input_is_empty(run):
    assert (
        run("import os, sys; print(repr(sys.stdin.read()), 'DRYSTONE_SECRETS' in os.environ)").output == b"'' False\n"
    )


def test_a_secret_that_is_not_there_is_named(launch, monkeypatch):
    monkeypatch.delenv("API_TOKEN", raising=False)
    with pytest.raises(StackError, match="API_TOKEN"):
        launch("pass", environment={"API_TOKEN": Secret("env:API_TOKEN")})
