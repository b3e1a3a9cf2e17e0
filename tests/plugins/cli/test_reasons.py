"""`drystone why`, `diff` and `replay`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from drystone_cli.replaying import summary

TARGET = "flows:training"


def test_why_tells_of_every_step_or_of_one(trained):
    found = trained("why", "training-2")
    assert found.code == 0
    assert found.out.splitlines()[:2] == ["training-2: succeeded", "  load  cached from training-1"]
    assert found.out.splitlines()[-1] == "      parameter rate 0.5 → 0.75"
    assert "load" not in trained("why", "training-2", "fit").out


def test_why_of_a_failed_run_ends_with_the_error(drystone):
    drystone("run", "flows:failing")
    lines = drystone("why", "failing-1", "explode").out.splitlines()
    assert lines[-1] == "      RuntimeError: the data is cursed"
    assert lines[1].startswith("  explode  failed (")


def test_why_with_json_is_an_array_of_steps(trained):
    (found,) = trained("why", "training-2", "fit", "--json").records
    assert found["causes"] == [
        {"kind": "parameter", "text": "parameter rate 0.5 → 0.75", "diff": None, "name": "rate", "causes": []}
    ]
    assert found["seconds"] >= 0


def test_what_is_not_there_is_wrong_usage(trained):
    for arguments, message in {
        ("why", "trainin-1"): "Error: There is no run named 'trainin-1' in this workspace. Did you mean 'training-1'?",
        ("why", "training-1", "fitt"): "Error: Run training-1 has no step 'fitt'. Did you mean 'fit'?",
        ("diff", "training-1", "x"): "Error: There is no run named 'x' in this workspace.",
        ("replay", "training-1", "fitt"): "Error: Run training-1 has no step 'fitt'. Did you mean 'fit'?",
    }.items():
        found = trained(*arguments)
        assert (found.code, found.out) == (2, "")
        assert found.err.startswith(message)


def test_a_diff_tells_first_of_the_run_then_of_each_step(trained):
    lines = [line for line in trained("diff", "training-1", "training-2").out.splitlines() if "duration" not in line]
    assert lines[0] == "training-1 → training-2"
    assert lines[1] == "  run"
    assert "      parameter rate 0.5 → 0.75" in lines
    assert "      model version scores@1 → scores@2" in lines
    fit = lines.index("  fit")
    assert lines[fit + 1 :] == [
        "      parameter rate 0.5 → 0.75",
        "      metadata rate 0.5 → 0.75",
        "      output score score@1 → score@2",
    ]


def test_a_diff_with_json_is_an_array_of_differences(trained):
    found = trained("diff", "training-1", "training-2", "--json").records
    output = next(each for each in found if each["kind"] == "output")
    assert output == {
        "kind": "output",
        "name": "score",
        "before": "score@1",
        "after": "score@2",
        "steps": ["fit"],
        "diff": None,
        "same_content": False,
        "text": "output score score@1 → score@2",
    }
    assert trained("diff", "training-1", "training-1").out == "training-1 and training-1 do not differ.\n"


def test_a_replay_says_which_code_runs_and_whether_the_result_is_the_same(trained):
    found = trained("replay", "training-1", "fit")
    assert (found.code, found.err) == (0, "")
    assert found.out.splitlines() == [
        "fit of training-1, with the code that ran then",
        "score: 15.0 (the same as score@1)",
        "logged:  rate=0.5",
    ]


def test_a_replay_with_todays_code_shows_the_diff_first(trained, flows):
    flows.write_text(flows.read_text().replace("return 10", "return 11"))
    del sys.modules["flows"]
    lines = trained("replay", "training-1", "fit").out.splitlines()
    assert lines[:2] == ["fit of training-1, with today's code, which differs:", "      code of flows.factor changed"]
    assert "        +    return 11" in lines
    assert lines[-2] == "score: 16.5 (not the same as score@1)"


def test_a_replay_with_json_is_one_record_whatever_the_step_prints(trained):
    found = trained("replay", "training-1", "load", "--json")
    assert found.records == [
        {
            "run": "training-1",
            "step": "load",
            "changes": [],
            "notes": [],
            "metadata": {},
            "outputs": {"numbers": {"text": "[0, 1, 2]", "equal": True, "recorded": "numbers@1"}},
        }
    ]
    assert "loading 3" in found.err


def test_a_replayed_step_that_raises_shows_the_users_traceback(drystone):
    drystone("run", "flows:failing")
    found = drystone("replay", "failing-1", "explode")
    assert found.code == 1
    assert 'raise RuntimeError("the data is cursed")' in found.err
    assert "drystone_cli" not in found.err


def test_outputs_are_summed_up_in_a_line():
    class Odd:
        def __repr__(self):
            raise ValueError

    assert summary([1, "a"]) == "[1, 'a']"
    assert summary("x" * 1000) == "str of size 1000"
    assert summary(list(range(1000))) == "list of size 1000"
    assert summary(Odd()).endswith("Odd")
    numpy = pytest.importorskip("numpy")
    assert summary(numpy.zeros((300, 4))) == "ndarray of size (300, 4)"


def test_on_a_terminal_statuses_and_diffs_have_colours(trained):
    import pty

    leader, follower = pty.openpty()
    child = os.fork()
    if not child:
        os.dup2(follower, 1)
        script = str(Path(sys.executable).with_name("drystone"))
        os.execve(script, [script, "why", "training-2"], {**os.environ, "TERM": "xterm"})
    os.close(follower)
    seen = b""
    while data := _read(leader):
        seen += data
    os.close(leader)
    assert os.waitpid(child, 0)[1] == 0
    assert b"\x1b[36m  load  cached from training-1" in seen


def _read(descriptor):
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # how Linux says that the other side is closed
        return b""
