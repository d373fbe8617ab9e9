"""A model's answers are measured next to the ceiling and the baselines; a run is not changed by it."""

from __future__ import annotations

import json
import sys

import keras
import numpy as np
import pytest

import highnoon as hn
from highnoon.cli.evaluate_tasks import task_table
from highnoon.config import ConfigError
from highnoon.data import DataError
from highnoon.data.tasks import TaskDefinition, TaskExample, open_task, register_task
from highnoon.evaluation.tasks import (
    TaskEvaluator,
    TaskMetrics,
    TaskSample,
    measure_task,
    register_task_metrics,
    sample_task,
)
from highnoon.evaluation.tasks.generate_answers import generate_answers, prompt_ids
from highnoon.evaluation.tasks.task_evaluator import open_tasks
from highnoon.inference import generate
from highnoon.tokenization import ByteTokenizer, ChatTemplate
from highnoon.training.evaluators import evaluators_from_config


@register_task
class MeasuredEcho(TaskDefinition):
    """Repeats a word."""

    name = "measured_echo"

    def example(self, record, location):
        turns = [{"role": "user", "content": record["instruction"]}]
        return TaskExample(self.name, "", turns, record["response"], record["response"])

    def synthesize(self, rng):
        word = "".join(rng.choices("abcdef", k=5))
        return {"instruction": word, "response": word}


def score_echo(example, text):
    return {"accuracy": float(text == example.expected)}


register_task_metrics("measured_echo", TaskMetrics(score_echo, main="accuracy"))
ECHO = {"name": "tasks", "tasks": ["measured_echo"], "synthetic": True, "limit": 3, "max_new_tokens": 4}


def make_model() -> hn.LanguageModel:
    shape = {"vocab_size": 263, "embedding_dim": 16, "num_reasoning_blocks": 1, "max_seq_length": 96}
    model = hn.create_model("highnoon-nano", num_heads=2, expert_dim=8, **shape)
    model.tokenizer = ByteTokenizer().with_chat_template(ChatTemplate())
    return model


@pytest.fixture(scope="module")
def model() -> hn.LanguageModel:
    return make_model()


def example(words: str, answer: str) -> TaskExample:
    return TaskExample("measured_echo", words, [{"role": "user", "content": words}], answer, answer)


def test_answers_are_greedy_and_prompts_are_those_of_training(model):
    examples = [example("one", "one"), example("another", "another")]
    answers = generate_answers(model, examples, max_new_tokens=4, batch_size=2)
    for asked, text in zip(examples, answers.texts, strict=True):
        ids = prompt_ids(asked, model.tokenizer.chat_template, model.tokenizer)
        rendered = ChatTemplate().render(asked.record()["messages"])
        assert rendered.text.startswith(model.tokenizer.decode(ids[1:], skip_special_tokens=False))
        new = generate(model, ids, max_length=4, temperature=0.0, strip_prompt=True)
        assert text == model.tokenizer.decode(new)


def test_answers_may_be_a_quarter_longer_than_the_longest_reference(model):
    asked = example("one", "12345678")
    ids = prompt_ids(asked, model.tokenizer.chat_template, model.tokenizer)
    new = generate(model, ids, max_length=10, temperature=0.0, strip_prompt=True)
    answers = generate_answers(model, [asked, example("one", "1")])
    assert answers.texts == [model.tokenizer.decode(new)] * 2


def test_answers_need_a_tokenizer(model):
    with pytest.raises(ConfigError, match="tokenizer"):
        generate_answers(model, [example("one", "one")], tokenizer="bytes")


def test_prompts_longer_than_the_window_are_counted_and_never_shortened(model):
    examples = [example("one", "one"), example("x" * 60, "x"), example("one", "y" * 50)]
    sample = TaskSample("measured_echo", "measured_echo", examples, [example("two", "one")])
    result = measure_task(model, sample, max_new_tokens=2)
    assert (result.num_too_long, len(result.answers)) == (2, 1)
    assert "2 are longer than the model's window" in task_table(result)[0]
    assert result.ceiling["accuracy"].value == result.constant["accuracy"].value == 1.0
    found = result.to_json()
    assert json.loads(json.dumps(found)) == found
    assert found["metrics"]["accuracy"]["cases"] == 1 and not found["is_synthetic"]
    nothing = TaskSample("measured_echo", "measured_echo", examples[1:2], sample.training)
    assert measure_task(model, nothing).main_score.count == 0


def test_a_sample_is_always_the_same_and_its_two_sides_are_apart():
    task = open_task("measured_echo", synthetic=True, count=200)
    one, two = sample_task(task, limit=5), sample_task(task, limit=5)
    assert one == two and len(one.examples) == 5 and one.is_synthetic
    asked = {turn["content"] for one_ in one.examples for turn in one_.messages}
    assert not asked & {turn["content"] for one_ in one.training for turn in one_.messages}
    smaller = sample_task(task, limit=3).examples
    assert all(kept in one.examples for kept in smaller)


def test_the_evaluator_draws_nothing_and_labels_synthetic_tasks(model):
    (evaluator,) = evaluators_from_config([ECHO])
    before = np.random.get_state()[1].copy()
    figures = evaluator.evaluate(model, {}, 0)
    assert np.array_equal(before, np.random.get_state()[1])
    assert figures == evaluator.evaluate(model, {}, 1)
    names = ["accuracy", "distinct_answers", "too_long"]
    assert set(figures) == {f"synthetic_measured_echo/{name}" for name in names} | {"overall"}
    assert figures["synthetic_measured_echo/accuracy"].count == 3
    assert TaskEvaluator.from_config(evaluator.get_config()).get_config() == evaluator.get_config()


def test_bad_arguments_are_one_line():
    for wrong, match in (
        ({"tasks": ["bash_comand"]}, "bash_command"),
        ({"limit": 0}, "limit"),
        ({"validation_split": 1.0}, "validation_split"),
        ({"task": ["bash_command"]}, "task"),
    ):
        with pytest.raises(ConfigError, match=match) as error:
            evaluators_from_config([{"name": "tasks", **wrong}])
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="'tasks'"):
        evaluators_from_config(["task"])


def test_without_names_the_tasks_are_those_that_have_metrics_and_data(model):
    """Other packages may register metrics of a task that is not there, and tasks without a generator."""
    silent = type("Silent", (MeasuredEcho,), {"name": "silent_echo", "synthesize": TaskDefinition.synthesize})
    register_task(silent)
    for name in ("silent_echo", "never_registered"):
        register_task_metrics(name, TaskMetrics(score_echo, main="accuracy"))
    tasks, missing = open_tasks(None, synthetic=True)
    assert {"bash_command", "measured_echo"} <= {task.name for task in tasks}
    assert "never_registered" not in missing and "no generator" in missing["silent_echo"]
    register_task(type("Unmeasured", (MeasuredEcho,), {"name": "unmeasured_echo"}))
    assert "unmeasured_echo" not in {task.name for task in open_tasks(None, synthetic=True)[0]}


def test_a_named_task_without_data_is_an_error_before_the_run(tmp_path, monkeypatch):
    monkeypatch.delenv("HIGHNOON_DATA", raising=False)
    with pytest.raises(DataError, match="measured_echo") as error:
        evaluators_from_config([{**ECHO, "synthetic": False, "data_dir": str(tmp_path)}])
    assert "\n" not in str(error.value)


def test_a_missing_package_is_an_error_before_the_run(monkeypatch):
    for name, task in (("tree_sitter", "bash_command"), ("jsonschema", "tool_use")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=rf"`{name}`.*highnoon\[tasks\]"):
            evaluators_from_config([{"name": "tasks", "tasks": [task], "synthetic": True}])
    evaluators_from_config([{"name": "tasks", "tasks": ["chain_of_thought"], "synthetic": True}])


@pytest.mark.slow
def test_a_run_has_the_figures_and_the_same_bits_as_without(tmp_path, monkeypatch):
    monkeypatch.setenv("HIGHNOON_CACHE", str(tmp_path / "cache"))
    weights, logs = [], []
    for evaluators in ([], [ECHO]):
        keras.utils.set_random_seed(1)
        trainer = hn.Trainer(make_model(), batch_size=4, evaluators=evaluators, validation_split=0.3)
        trainer.add_curriculum_stage("echo", "synthetic:measured_echo:100", steps=4)
        folder = tmp_path / str(len(evaluators))
        trainer.train(save_checkpoints=False, log_dir=str(folder), eval_interval=2)
        weights.append([np.asarray(weight) for weight in trainer.model.get_weights()])
        logs.append("".join(path.read_text() for path in folder.rglob("metrics.jsonl")))
    assert all(map(np.array_equal, *weights))
    assert "val/synthetic_measured_echo/accuracy" in logs[1] and "measured_echo" not in logs[0]
