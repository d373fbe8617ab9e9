"""A step runs once, again when its inputs change or its result is damaged, and resumes when it was cut."""

from __future__ import annotations

import shutil

import pytest

from highnoon.experts.runs.recorded_step import RecordedSteps
from highnoon.files.folder_manifest import write_manifest


def begin(beginning, run_id="0123abcd"):
    beginning({"event": "train_begin", "run_id": beginning.run_id or run_id})


class Step:
    """Writes a result, and notes the run from which it was told to resume."""

    def __init__(self, result):
        self.result, self.calls = result, []

    def __call__(self, beginning):
        self.calls.append(beginning.run_id)
        begin(beginning)
        shutil.rmtree(self.result, ignore_errors=True)
        self.result.mkdir()
        (self.result / "weights").write_text("1")
        write_manifest(self.result)


@pytest.fixture
def step(tmp_path):
    return Step(tmp_path / "model")


def run(tmp_path, step, inputs=None, name="router"):
    RecordedSteps(tmp_path).run(name, {"lr": 1} if inputs is None else inputs, [step.result], step)


def test_a_step_that_is_done_is_skipped(tmp_path, step, capsys):
    run(tmp_path, step)
    run(tmp_path, step)
    assert step.calls == [None]
    assert "router: done before, skipped" in capsys.readouterr().out


def test_a_step_that_leaves_no_result_is_never_skipped(tmp_path, step):
    calls = []

    def begin_alone(beginning):
        calls.append(beginning.run_id)
        begin(beginning)

    for _ in range(2):
        RecordedSteps(tmp_path).run("router", {}, [step.result], begin_alone)
    assert calls == [None, "0123abcd"]


def test_changed_inputs_run_it_anew_and_are_named(tmp_path, step, capsys):
    run(tmp_path, step)
    run(tmp_path, step, {"lr": 2})
    assert step.calls == [None, None]
    assert "router again: lr changed" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_result_that_is_damaged_or_gone_is_made_again_from_the_checkpoints_that_there_are(
    tmp_path, step, damage
):
    run(tmp_path, step)
    weights = step.result / "weights"
    weights.write_text("2") if damage == "changed" else weights.unlink()
    run(tmp_path, step)
    run(tmp_path, step)
    assert step.calls == [None, "0123abcd"]


def test_a_step_that_was_cut_resumes_unless_its_inputs_changed_since(tmp_path, step):
    def cut(beginning):
        begin(beginning, "89abcdef")
        raise KeyboardInterrupt

    steps = RecordedSteps(tmp_path)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            steps.run("router", {"lr": 1}, [step.result], cut)
        run(tmp_path, step)
        (step.result / "weights").unlink()
    with pytest.raises(KeyboardInterrupt):
        steps.run("router", {"lr": 1}, [step.result], cut)
    run(tmp_path, step, {"lr": 2})
    assert step.calls == ["89abcdef", "89abcdef", None]


def test_a_damaged_record_says_nothing_and_its_step_runs_again(tmp_path, step, capsys):
    run(tmp_path, step)
    (tmp_path / "steps/router.json").write_text('{"inputs": {"lr": 1}, "digest": "0"}')
    run(tmp_path, step)
    assert step.calls == [None, None] and "its step runs again" in capsys.readouterr().out


def test_a_step_killed_before_its_run_begins_does_not_resume_the_run_with_other_inputs(tmp_path, step):
    def killed_before_it_begins(beginning):
        assert beginning.run_id is None
        raise SystemExit

    run(tmp_path, step)
    with pytest.raises(SystemExit):
        RecordedSteps(tmp_path).run("router", {"lr": 2}, [step.result], killed_before_it_begins)
    run(tmp_path, step)
    assert step.calls == [None]
    run(tmp_path, step, {"lr": 2})
    assert step.calls == [None, None]
