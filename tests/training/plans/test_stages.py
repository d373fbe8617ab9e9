"""What a stage accepts, and what it refuses with which words."""

from __future__ import annotations

import pytest

from highnoon.config import ConfigError
from highnoon.data import Files
from highnoon.training import CurriculumScheduler
from highnoon.training.plans.stage_sources import open_stage_sources
from highnoon.training.plans.stages import CurriculumStage


def test_documented_fields_and_defaults():
    stage = CurriculumStage(
        name="foundation",
        datasets=["dataset1", "dataset2"],
        epochs=10,
        weight=1.0,
        config_overrides={"learning_rate": 5e-5},
    )
    assert (stage.epochs, stage.weight, stage.config_overrides) == (10, 1.0, {"learning_rate": 5e-5})
    plain = CurriculumStage("a", "one")
    assert (plain.datasets, plain.epochs, plain.weight, plain.config_overrides) == (["one"], None, 1.0, {})


def test_aliases_of_overrides_are_accepted():
    assert CurriculumStage("a", "one", config_overrides={"lr": 1e-5}).config_overrides == {
        "learning_rate": 1e-5
    }


def test_pairs_give_weights():
    assert CurriculumStage("a", [("x", 0.5), ("y", 0.5)]).dataset_names_and_weights() == (
        ["x", "y"],
        [0.5, 0.5],
    )
    assert CurriculumStage("a", ["x", "y"]).dataset_names_and_weights() == (["x", "y"], None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"datasets": []}, "names no dataset"),
        ({"epochs": 0}, "`epochs` must be at least 1"),
        ({"steps": 1.5}, "`steps` must be a whole number"),
        ({"epochs": 1, "steps": 1}, "give one of them"),
        ({"weight": 0}, "`weight` must be above 0"),
        ({"config_overrides": {"learning_rat": 1}}, "did you mean `learning_rate`"),
        (
            {"scheduler": CurriculumScheduler(unit="step", verbose=False)},
            "needs the stage's length in `steps=`",
        ),
    ],
)
def test_bad_stages_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        CurriculumStage(**{"name": "a", "datasets": ["x"], **arguments})


def test_a_mix_of_pairs_and_names_is_refused():
    with pytest.raises(ConfigError, match="or none"):
        CurriculumStage("a", [("x", 0.5), "y"]).dataset_names_and_weights()


def test_a_source_that_one_stage_streams_is_not_changed_for_another(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    source = Files(tmp_path / "a.txt")
    stages = [
        CurriculumStage("a", [{"name": source, "stream": True}], steps=1),
        CurriculumStage("b", [source]),
    ]
    streaming, plain = open_stage_sources(stages, None)
    assert (streaming.streamed, plain.streamed, source.is_streamed) == ([source.name], [], False)
