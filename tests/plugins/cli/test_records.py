"""The commands that list and show what a workspace holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from drystone import blob_cache
from drystone.digests import digest_bytes
from drystone_cli import completion

TARGET = "flows:training"


def test_runs_are_listed_newest_first(trained):
    lines = trained("runs", "list").out.splitlines()
    assert lines[0].split()[:3] == ["RUN", "STATUS", "STEPS"]
    assert [line.split()[0] for line in lines[1:]] == ["training-2", "training-1"]
    assert [record["name"] for record in trained("runs", "list", "--json", "--limit", "1").records] == ["training-2"]


def test_runs_are_filtered(trained):
    trained("run", "flows:failing")
    assert [record["name"] for record in trained("runs", "list", "--status", "failed", "--json").records] == [
        "failing-1"
    ]
    assert len(trained("runs", "list", "--model", "scores", "--json").records) == 2
    assert trained("runs", "list", "--pipeline", "nothing", "--json").records == []


def test_a_run_is_shown_with_its_steps_and_logs(trained):
    found = trained("runs", "show", "training-2", "--logs")
    assert "status:         succeeded" in found.out
    assert "parameter rate 0.5 → 0.75" in found.out
    assert "Metadata of fit\nrate:  0.75" in found.out
    assert "Log of load" not in found.out
    assert "Log of load\nloading 3\n" in trained("runs", "show", "training-1", "--logs").out


def test_a_failed_run_shows_its_error(trained):
    trained("run", "flows:failing")
    assert "RuntimeError: the data is cursed" in trained("runs", "show", "failing-1").out


def test_an_unknown_run_names_the_nearest(trained):
    found = trained("runs", "show", "training-3")
    assert found.code == 2
    assert found.err.startswith("Error: ")
    assert "training-3" in found.err


def test_artifacts_are_listed_and_filtered(trained):
    names = [f"{each['name']}@{each['version']}" for each in trained("artifacts", "list", "--json").records]
    assert sorted(names) == ["numbers@1", "score@1", "score@2"]
    assert len(trained("artifacts", "list", "--name", "score", "--json").records) == 2
    assert len(trained("artifacts", "list", "--tag", "team=ops", "--json").records) == 1
    assert "numbers@1" in trained("artifacts", "list").out


def test_an_artifact_is_shown(trained):
    found = trained("artifacts", "show", "score@1")
    assert "artifact:      score@1" in found.out
    assert "made by:       training-1/fit" in found.out
    assert trained("artifacts", "show", "score", "--json").records[0]["version"] == 2


def test_an_artifact_is_copied_and_nothing_is_overwritten(trained, project):
    found = trained("artifacts", "get", "numbers", "copy")
    assert found.code == 0
    paths = [Path(line) for line in found.out.splitlines()]
    assert paths
    assert all(path.is_file() for path in paths)
    again = trained("artifacts", "get", "numbers", "copy")
    assert again.code == 2
    assert "would be overwritten. Give another directory, or --force." in again.err
    assert trained("artifacts", "get", "numbers", "copy", "--force").code == 0
    named = trained("artifacts", "get", "numbers@1", "--json").records[0]
    assert named["artifact"] == "numbers@1"
    assert (project / "numbers-1").is_dir()


def test_a_directory_is_copied_with_its_empty_ones(drystone, project, workspace):
    (project / "tree/empty/deep").mkdir(parents=True)
    (project / "tree/file").touch()
    workspace.save_artifact(project / "tree", "tree")
    assert drystone("artifacts", "get", "tree", "copy").code == 0
    assert (project / "copy/tree/empty/deep").is_dir()
    assert (project / "copy/tree/file").is_file()


def test_a_target_that_cannot_be_written_to_is_one_paragraph(trained, project):
    (project / "file").touch()
    found = trained("artifacts", "get", "numbers", "file/below")
    assert (found.code, found.out) == (1, "")
    assert found.err == (
        "Error: Copying to file/below failed: [Errno 20] Not a directory: 'file/below'. Another TARGET may do.\n"
    )


def test_a_version_that_is_no_number_is_refused(trained):
    found = trained("artifacts", "show", "score@best")
    assert found.code == 2
    assert "'score@best' names no version." in found.err


def test_models_and_their_versions_are_side_by_side(trained):
    listed = trained("models", "list").out
    assert "scores" in listed
    assert "of the tests" in listed
    lines = trained("models", "versions", "scores").out.splitlines()
    assert lines[0].split() == ["VERSION", "NAME", "STATUS", "STAGES", "CREATED", "RUNS", "rate"]
    assert [line.split()[-1] for line in lines[1:]] == ["0.75", "0.5"]
    assert [each["number"] for each in trained("models", "versions", "scores", "--json").records] == [2, 1]


def test_of_many_runs_of_a_version_one_is_named_and_the_others_are_counted(trained, flows):
    text = flows.read_text()
    flows.write_text(f"{text}\n@pipeline(model=m.version(1))\ndef using(by: int):\n    return load(by)\n")
    program = "import flows\nfor by in range(3): flows.using(by=by)"
    subprocess.run([sys.executable, "-c", program], check=True)
    lines = trained("models", "versions", "scores").out.splitlines()
    assert "training-1 and 3 more" in lines[2]
    assert "training-2  " in lines[1]
    assert "runs:     training-1 and 3 more" in trained("models", "show", "scores@1").out
    assert trained("models", "show", "scores@1", "--json").records[0]["runs"] == [
        *("training-1", "using-1", "using-2", "using-3"),
    ]


def test_promotion_moves_a_stage_and_rollback_moves_it_back(trained):
    assert trained("models", "promote", "scores", "1", "production").out == (
        "Version 1 of scores holds 'production' now.\n"
    )
    found = trained("models", "promote", "scores", "latest", "production", "--reason", "better")
    assert found.out == "Version 2 of scores holds 'production' now. It was 1.\n"
    assert trained("models", "show", "scores@production", "--json").records[0]["number"] == 2
    assert trained("models", "rollback", "scores", "production").out == (
        "Version 1 of scores holds 'production' again.\n"
    )
    moves = trained("models", "history", "scores", "--json").records
    assert [(move["action"], move["number"]) for move in moves] == [("rollback", 1), ("promote", 2), ("promote", 1)]
    assert "better" in trained("models", "history", "scores", "production").out


def test_a_promotion_can_expect_who_holds_the_stage(trained):
    assert trained("models", "promote", "scores", "1", "staging", "--expect", "none").code == 0
    refused = trained("models", "promote", "scores", "2", "staging", "--expect", "none")
    assert refused.code == 1
    assert trained("models", "promote", "scores", "2", "staging", "--expect", "1").code == 0
    assert "--expect takes the number of a version or `none`" in (
        trained("models", "promote", "scores", "2", "staging", "--expect", "x").err
    )


def test_an_unknown_model_is_named_with_those_there_are(trained):
    for command in ("versions", "history"):
        found = trained("models", command, "score")
        assert found.code == 2
        assert found.err == "Error: There is no model 'score'. Did you mean 'scores'? Models: scores.\n"


def test_a_model_version_is_shown_with_its_artifacts(trained):
    found = trained("models", "show", "scores")
    assert "version:  2" in found.out
    assert "score@2" in found.out


def test_stacks_are_listed_shown_and_chosen(drystone, project):
    (project / "stacks.py").write_text(
        "from drystone import Stack\nfrom drystone_local import LocalArtifactStore, LocalOrchestrator\n"
        "dev = Stack('dev', orchestrator=LocalOrchestrator(), artifact_store=LocalArtifactStore())\n"
    )
    assert [(each["name"], each["active"]) for each in drystone("stacks", "list", "--json").records] == [
        ("default", True),
        ("dev", False),
    ]
    assert drystone("stacks", "use", "dev").out == "This checkout uses the stack 'dev' now.\n"
    assert drystone("stacks", "show", "--json").records[0]["name"] == "dev"
    assert "artifact_store: local" in drystone("stacks", "show", "dev").out
    assert drystone("stacks", "use", "prod").code == 2


def test_a_stack_in_the_environment_goes_before_the_chosen_one(drystone, monkeypatch):
    monkeypatch.setenv("DRYSTONE_STACK", "default")
    assert drystone("stacks", "use", "default").out == "This checkout uses the stack 'default' now.\n"


def test_plugins_are_listed_and_examined(drystone):
    found = {each["name"]: each["state"] for each in drystone("plugins", "list", "--json").records}
    assert found["local"] == "active"
    doctor = drystone("plugins", "doctor")
    assert doctor.code == 0
    assert doctor.out.endswith("plugins, all in order.\n")


def test_a_broken_plugin_is_listed_and_explained(project):
    (project / "bad_plugin.py").write_text("raise RuntimeError('not today')\n")
    info = project / "bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[drystone]\nbad = bad_plugin\n")
    code = "import sys; from drystone_cli.main import main; sys.exit(main(sys.argv[1:]))"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=project, check=False)

    listed = run("plugins", "list")
    assert listed.returncode == 0
    assert "RuntimeError: not today" in listed.stdout
    doctor = run("plugins", "doctor")
    assert doctor.returncode == 1
    assert "'bad' of bad 1.0 is installed but broken" in doctor.stdout
    assert "Traceback" in doctor.stdout


def test_the_workspace_is_shown_verified_and_rebuilt(trained, project):
    assert str(project / ".drystone") in trained("workspace", "info").out
    assert len(trained("workspace", "info", "--json").records) == 1
    assert trained("workspace", "verify").out == "Everything is whole.\n"
    assert trained("workspace", "rebuild").out == "The index was made anew from the ledger.\n"


def test_the_cache_is_shown_and_cleared(trained, cache):
    blob_cache().keep(digest_bytes(b"kept"), b"kept")
    assert [(each["path"], each["size"]) for each in trained("cache", "info", "--json").records] == [
        (str(cache / "blobs"), 4)
    ]
    assert "size:   4 B" in trained("cache", "info").out
    assert trained("cache", "clear").out == "4 B were freed.\n"
    assert trained("cache", "clear", "--json").records == [{"freed": 0}]


def test_verify_names_a_lost_blob_and_exits_with_1(trained, project):
    version = trained("artifacts", "show", "numbers", "--json").records[0]
    digest = version["manifest"]["blobs"][0]["digest"]
    next((project / ".drystone").rglob(digest)).unlink()
    found = trained("workspace", "verify", "--json")
    assert found.code == 1
    assert any(digest[:12] in finding["message"] or digest in finding["subject"] for finding in found.records)


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("command", [["runs", "list", "--json"], ["plan", TARGET]])
def test_a_reader_that_stops_reading_is_no_error(trained, command, buffered):
    script = Path(sys.executable).with_name("drystone")
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONUNBUFFERED": buffered}
    found = subprocess.run([script, *command], stdout=writer, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writer)
    assert (found.returncode, found.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_output_that_cannot_be_written_is_one_paragraph(trained):
    script = Path(sys.executable).with_name("drystone")
    with open("/dev/full", "w") as full:
        found = subprocess.run([script, "runs", "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert found.returncode != 0
    assert found.stderr.startswith("Error: [Errno 28] No space left on device.\n")
    assert "Traceback" not in found.stderr


def test_names_are_completed(trained):
    context = click.Context(click.Command("promote"))
    context.params["model"] = "scores"
    trained("models", "promote", "scores", "1", "canary")
    assert completion.run_names(context, None, "train") == ["training-1", "training-2"]
    assert completion.artifact_names(context, None, "") == ["numbers", "score"]
    assert completion.model_names(context, None, "s") == ["scores"]
    assert completion.stage_names(context, None, "") == ["canary", "production", "staging"]
    context.params.clear()
    assert completion.stage_names(context, None, "") == ["production", "staging"]


def test_a_filter_that_nothing_fits_is_not_an_empty_workspace(drystone):
    assert drystone("runs", "list").err == "No runs here. `drystone run TARGET` makes one.\n"
    drystone("run", "flows:training")
    assert drystone("runs", "list", "--pipeline", "trainin").err == "No run fits.\n"


def test_a_status_that_no_run_can_have_is_refused(drystone):
    found = drystone("runs", "list", "--status", "broken")
    assert found.code == 2
    assert found.err == (
        "Error: Invalid value for '--status': 'broken' is not one of 'running', 'succeeded', 'failed', 'cancelled', "
        "'crashed'. See `drystone runs list --help`.\n"
    )
