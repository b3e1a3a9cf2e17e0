"""`drystone run`, `plan` and `resume`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TARGET = "flows:training"


def test_run_prints_the_record_and_says_how_each_step_ended(drystone):
    found = drystone("run", TARGET, "--param", "rows=4")
    assert found.code == 0
    assert "run:            training-1" in found.out
    assert "status:         succeeded" in found.out
    assert "model version:  scores@1" in found.out
    assert "training-1 on stack default" in found.err
    assert "  load: succeeded in " in found.err


def test_a_second_run_comes_from_the_cache(drystone):
    drystone("run", TARGET)
    found = drystone("run", TARGET)
    assert found.code == 0
    assert "2 cached" in found.out
    assert "  fit: cached from training-1" in found.err


def test_run_with_json_prints_one_record_and_nothing_else(drystone):
    found = drystone("run", TARGET, "--json")
    assert [record["name"] for record in found.records] == ["training-1"]
    assert found.records[0]["steps"]["fit"]["outputs"]["score"]["version"] == 1
    assert "loading 3" in found.err


def test_json_stays_whole_whatever_the_project_prints(drystone, flows, project):
    flows.write_text(flows.read_text() + "\nprint('imported flows')\n")
    (project / "stacks.py").write_text("print('imported stacks')\n")
    planned = drystone("plan", TARGET, "--json")
    assert [step["name"] for step in planned.records] == ["load", "fit"]
    assert "imported flows" in planned.err
    assert "imported stacks" in planned.err
    assert [record["name"] for record in drystone("run", TARGET, "--json").records] == ["training-1"]


def test_a_plan_is_printed_where_its_arrows_cannot_be(drystone):
    drystone("run", TARGET)
    script = str(Path(sys.executable).with_name("drystone"))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [script, "plan", TARGET, "-p", "rate=2"]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (found.returncode, found.stderr) == (2, "")
    assert "parameter rate 0.5 \\u2192 2.0" in found.stdout


def test_a_file_is_a_target_as_well(drystone):
    assert drystone("run", "flows.py:training").code == 0


def test_plan_exits_with_2_while_anything_would_run(drystone):
    before = drystone("plan", TARGET)
    assert before.code == 2
    assert "never ran here" in before.out
    drystone("run", TARGET)
    after = drystone("plan", TARGET)
    assert after.code == 0
    assert "cached from training-1" in after.out


def test_plan_shows_why_and_takes_the_options_of_run(drystone):
    drystone("run", TARGET)
    changed = drystone("plan", TARGET, "--param", "rate=2", "--json")
    assert changed.code == 2
    assert {step["name"]: step["status"] for step in changed.records} == {"load": "cached", "fit": "run"}
    assert changed.records[1]["causes"][0]["text"] == "parameter rate 0.5 → 2.0"
    rerun = drystone("plan", TARGET, "--rerun", "fit", "--json")
    assert [step["status"] for step in rerun.records] == ["cached", "run"]
    off = drystone("plan", TARGET, "--no-cache", "--json")
    assert [step["status"] for step in off.records] == ["run", "run"]


def test_plan_takes_every_option_of_run():
    from drystone_cli.running import plan, run

    options = {each.name: each.opts for each in run.params if each.name != "detach"}
    assert {each.name: each.opts for each in plan.params} == options


def test_a_run_is_tagged_and_its_version_named(drystone):
    options = ("--on-error", "stop", "--tag", "nightly", "--tag", "team=ops", "--version-name", "first")
    [record] = drystone("run", TARGET, *options, "--json").records
    assert record["tags"] == {"nightly": True, "team": "ops"}
    assert record["model_version"]["name"] == "first"
    assert record["options"] == {"on_error": "stop", "tags": record["tags"], "version": "first"}
    refused = drystone("run", TARGET, "--on-error", "stopp")
    assert refused.code == 2
    assert "Invalid value for '--on-error': 'stopp'" in refused.err
    unnamed = drystone("run", "flows:failing", "--version-name", "first")
    assert unnamed.code == 1
    assert unnamed.err.startswith("Error: Pipeline 'failing' makes no model version that could be named 'first'")


def test_a_failed_run_shows_the_users_traceback_and_exits_with_1(drystone, flows):
    found = drystone("run", "flows:failing")
    assert found.code == 1
    assert 'raise RuntimeError("the data is cursed")' in found.err
    assert "drystone_cli" not in found.err
    assert (
        found.err.rstrip()
        .splitlines()[-1]
        .startswith("Error: Run failing-1 failed: step 'explode' raised RuntimeError")
    )


def test_a_failed_run_with_json_is_a_record_still(drystone):
    found = drystone("run", "flows:failing", "--json")
    assert found.code == 1
    assert found.records[0]["status"] == "failed"


def test_debug_shows_all(drystone):
    found = drystone("run", "flows:absent", "--debug")
    assert found.code == 2
    assert "Traceback" in found.err


def test_wrong_usage_is_one_paragraph_with_the_way_out(drystone):
    for arguments, message in {
        ("flows:trainin",): "Error: flows has no pipeline 'trainin'. Did you mean 'training'?",
        ("flowz:training",): "Error: There is no module 'flowz'",
        ("training",): "Error: 'training' is no target.",
        (
            TARGET,
            "--param",
            "row=1",
        ): "Error: --param row: Pipeline 'training' has no parameter 'row'. Did you mean 'rows'?",
        (TARGET, "--param", "rows=x"): "Error: --param rows: it takes a whole number, not 'x'.",
        (TARGET, "--stack", "defalt"): "Error: There is no stack 'defalt'. Did you mean 'default'?",
    }.items():
        found = drystone("run", *arguments)
        assert (found.code, found.out) == (2, "")
        assert found.err.startswith(message)
        assert "Traceback" not in found.err


def test_an_unknown_step_to_rerun_is_refused(drystone):
    found = drystone("run", TARGET, "--rerun", "fitt")
    assert found.code == 1
    assert found.err.startswith("Error: There is no step 'fitt' to rerun. Did you mean 'fit'?")


def test_stacks_that_raise_are_one_paragraph(drystone, project):
    (project / "stacks.py").write_text("x = 1\nraise RuntimeError('no stacks today')\n")
    found = drystone("stacks", "list")
    assert found.code == 1
    assert "stacks.py, line 2: RuntimeError: no stacks today" in found.err
    assert "Traceback" not in found.err


def test_resume_completes_a_failed_run(drystone, flows):
    drystone("run", "flows:failing")
    flows.write_text(flows.read_text().replace('raise RuntimeError("the data is cursed")', "return len(data)"))
    script = Path(sys.executable).with_name("drystone")
    found = subprocess.run([str(script), "resume", "failing-1", "--json"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)[0]["status"] == "succeeded"


def test_resume_of_a_run_that_succeeded_is_refused(drystone):
    drystone("run", TARGET)
    found = drystone("resume", "training-1")
    assert found.code == 1
    assert found.err.startswith(
        "Error: Run training-1 is succeeded; only a crashed, failed or cancelled run is resumed."
    )


def test_on_a_terminal_steps_are_listed_and_what_they_print_is_shown(flows):
    import pty

    script = str(Path(sys.executable).with_name("drystone"))
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([script, "run", TARGET], stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        seen = b""
        while True:
            try:
                data = os.read(leader, 1 << 16)
            except OSError:
                break
            if not data:
                break
            seen += data
    os.close(leader)
    text = seen.decode()
    assert process.returncode == 0, text
    assert "loading 3\r\n" in text
    assert "✓" in text
    assert "training-1" in text
    assert "scores@1" in text
