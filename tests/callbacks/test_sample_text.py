"""Samples come at each evaluation and change nothing of the run."""

from __future__ import annotations

import keras
import pytest

from highnoon.callbacks import CallbackGroup, MetricsFile, SampleText
from highnoon.callbacks.metrics_file import read_metrics


class Writer(keras.Model):
    """Continues every prompt by what it was asked."""

    def generate(self, prompts, **options):
        return [f"{prompt}, {options['max_length']} at {options['temperature']}" for prompt in prompts]


def group_of(model, *callbacks) -> CallbackGroup:
    group = CallbackGroup(callbacks)
    group.set_model(model, {})
    return group


def test_each_evaluation_is_followed_by_a_sample_of_every_prompt(tmp_path):
    heard = []
    sampler = SampleText(["The sun", "A crow"], max_length=5, temperature=0.5)
    group = group_of(Writer(), sampler, MetricsFile(tmp_path / "metrics.jsonl"), heard.append)
    group.event("log", step=1, stage="a", metrics={})
    group.event("evaluation", step=2, stage="a", metrics={"val/loss": 1.0})
    assert [event["event"] for event in heard] == ["log", "evaluation", "sample"]
    expected = [
        {"prompt": "The sun", "text": "The sun, 5 at 0.5"},
        {"prompt": "A crow", "text": "A crow, 5 at 0.5"},
    ]
    assert heard[-1]["samples"] == expected and heard[-1]["step"] == 2
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["samples"] == expected


def test_a_model_that_cannot_write_is_refused_before_the_first_step():
    group = group_of(keras.Sequential(), SampleText(["The sun"]))
    with pytest.raises(Exception) as raised:
        group.event("train_begin", step=0)
    assert "has no `generate`" in str(raised.value.__cause__)


@pytest.mark.parametrize("prompts", [[], "one text"])
def test_prompts_are_a_list(prompts):
    with pytest.raises(ValueError, match="list of at least one text"):
        SampleText(prompts)
