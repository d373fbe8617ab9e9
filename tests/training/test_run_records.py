"""What a run leaves: its history and its folder of logs, also when it is stopped and resumed."""

from __future__ import annotations

import json
import pathlib

import pytest

import highnoon as hn
from highnoon.config import ConfigError
from highnoon.monitoring import read_metrics
from highnoon.training.checkpoints import checkpoint
from highnoon.training.checkpoints.saved_run import SavedRun
from highnoon.training.evaluators import Evaluator, Figure
from highnoon.training.plans.evaluate_stages import evaluate_stages


class Steps(Evaluator):
    """Reports the step itself."""

    def evaluate(self, model, sample, step):
        return {"steps": Figure(float(step), 1)}


def make_trainer(model, corpus, other_corpus) -> hn.Trainer:
    trainer = hn.Trainer(model, batch_size=16, learning_rate=1e-3, jit_compile=False, evaluators=[Steps()])
    trainer.add_curriculum_stage("first", corpus, epochs=2)
    return trainer.add_curriculum_stage("second", other_corpus, epochs=1)


@pytest.fixture
def run(make_model, corpus, other_corpus):
    """A function that trains, and returns trainer and summary."""

    def train(seed=0, **options):
        trainer = make_trainer(make_model(seed), corpus, other_corpus)
        arguments = {"log_interval": 2, "checkpoint_interval": 2, "keep_checkpoints": 9, "verbose": False}
        return trainer, trainer.train(**{**arguments, **options})

    return train


@pytest.mark.slow
def test_history_and_folder_survive_a_resume(run, tmp_path, monkeypatch):
    epochs = []
    trainer, summary = run(
        run_name="a b",
        callbacks=[lambda event: epochs.append(event) if event["event"] == "epoch_end" else None],
    )
    history = summary["history"]
    assert history == trainer.history and history is not trainer.history
    assert history["stage"] == ["first", "first", "second"] and history["epoch"] == [1, 2, 1]
    for name in ("step", "loss", "val_loss"):
        assert history[name] == [event[name] for event in epochs]
    for name in ("perplexity", "bits_per_byte", "steps"):
        assert history[f"val_{name}"] == [event["metrics"][f"val/{name}"] for event in epochs]
    assert history["val_steps"] == history["step"] and history["learning_rate"][0] > 0
    figures = evaluate_stages(trainer.model, trainer.replicas, [trainer.stage_data()[1]])
    assert history["val_bits_per_byte"][-1] == pytest.approx(figures["bits_per_byte"], rel=1e-5)
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name.endswith("_a-b")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["run_name"] == "a b" and lines[-1]["event"] == "train_end"

    middle = checkpoint.step_folders(tmp_path / "checkpoints")[1]
    _, again = run(1, resume_from=middle, checkpoint_dir="again")
    assert again == summary
    assert [path.name for path in (tmp_path / "logs").iterdir()] == [folder.name]
    steps = [line["step"] for line in read_metrics(folder / "metrics.jsonl") if line["event"] == "log"]
    assert steps == [1, *range(2, summary["total_steps"] + 1, 2)]
    with pytest.raises(ConfigError, match="is named 'a b', and a resumed run keeps that"):
        run(resume_from=middle, checkpoint_dir="again", run_name="c")

    read = SavedRun.read.__func__

    def of_an_older_version(cls, path):
        saved = read(cls, path)
        for key in ("run_name", "run_folder"):
            del saved.state[key]
        for key in ("history", "evaluated_figures", "lowest_bits_per_byte"):
            saved.state["run"]["progress"].pop(key)
        return saved

    monkeypatch.setattr(SavedRun, "read", classmethod(of_an_older_version))
    with pytest.warns(UserWarning, match="TensorBoard events"):
        old, summary = run(2, resume_from=middle, checkpoint_dir="older")
    run_id = checkpoint.read_state(middle)["run_id"]
    assert (tmp_path / "logs" / run_id / "metrics.jsonl").is_file()
    begun = checkpoint.read_state(middle)["run"]["progress"]["epoch"]
    assert summary["history"]["epoch"] == history["epoch"][begun:]


@pytest.mark.slow
def test_histograms_change_nothing_of_the_training(run):
    found = []
    record = [lambda event: found.append(event) if event["event"] == "histograms" else None]
    plain, summary = run(log_dir=None, save_checkpoints=False)
    watched, same = run(log_dir=None, save_checkpoints=False, histograms=True, callbacks=record)
    assert same == summary
    for one, other in zip(plain.model.weights, watched.model.weights, strict=True):
        assert one.numpy().tobytes() == other.numpy().tobytes()
    assert [event["step"] for event in found] == [1, *range(2, summary["total_steps"] + 1, 2)]
    sizes = {weight.path.split("/", 1)[1]: weight.shape for weight in watched.model.trainable_variables}
    assert len(found[0]["histograms"]) == 2 * len(sizes)
    total = sum(rows[:, 2].sum() for name, rows in found[-1]["histograms"].items() if name[:7] == "weight/")
    assert total == sum(weight.numpy().size for weight in watched.model.trainable_variables)


def test_a_trainer_is_shown_as_tables_before_and_after_its_plan(make_model, corpus, other_corpus):
    trainer = make_trainer(make_model(), corpus, other_corpus)
    trainer.add_curriculum_stage("<i>", [(corpus, 0.25), (other_corpus, 0.75)], steps=3)
    html = trainer._repr_html_()
    assert "<th>stage</th><th>data</th><th>length</th>" in html and "<td>2 epochs</td>" in html
    assert "&lt;i&gt;" in html and "<i>" not in html and "(25.0%)" in html and "<td>3 steps</td>" in html
    assert "<td>batch_size</td><td>16</td>" in html
    trainer.plan()
    assert "<th>documents</th>" in trainer._repr_html_()


def test_a_trainer_of_data_in_memory_is_shown_as_tables(make_model, corpus):
    texts = [f"Noon number {n}." for n in range(9)]
    for datasets in (texts, [texts], {"name": corpus, "skip_bad": True}, pathlib.Path(corpus)):
        trainer = hn.Trainer(make_model()).add_curriculum_stage("a", datasets, steps=1)
        assert "<td>a</td>" in trainer._repr_html_()
