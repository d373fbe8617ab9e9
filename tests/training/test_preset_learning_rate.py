"""A preset's learning rate and one rule of the warm-up reach a run by every entrance; what is given wins."""

from __future__ import annotations

import pytest

import highnoon as hn
from highnoon.config import TrainingConfig, is_given

QUIET = {"log_dir": None, "verbose": False}
SMALL = {
    "vocab_size": 263,
    "embedding_dim": 32,
    "num_reasoning_blocks": 1,
    "max_seq_length": 32,
    "num_moe_experts": 2,
    "expert_dim": 32,
}


def make_trainer(corpus: str, steps: int = 4, model: object = "highnoon-nano", **options) -> hn.Trainer:
    if isinstance(model, str):
        model = hn.create_model(model, **SMALL)
    trainer = hn.Trainer(model, tokenizer=hn.tokenization.ByteTokenizer(), batch_size=2, **options)
    return trainer.add_curriculum_stage("all", corpus, steps=steps)


def test_a_preset_brings_its_rate_and_the_plan_says_so(corpus):
    plan = make_trainer(corpus).plan()
    assert plan.stages[0].learning_rate == 3e-3
    assert "the peak learning rate, 0.003, is the preset's" in str(plan)


@pytest.mark.parametrize("options", [{"learning_rate": 1e-4}, {"lr": 1e-4}, {"config": TrainingConfig()}])
def test_a_rate_that_is_given_wins_without_a_note(corpus, options):
    plan = make_trainer(corpus, **options).plan()
    assert plan.stages[0].learning_rate == 1e-4 and "preset's" not in str(plan)


def test_a_model_without_a_preset_has_the_default(corpus):
    plan = make_trainer(corpus, model=hn.create_model(hn.ModelConfig(**SMALL, num_heads=2))).plan()
    assert plan.stages[0].learning_rate == 1e-4 and "preset's" not in str(plan)


def test_the_rate_stays_with_overrides_and_saving(tmp_path):
    model = hn.create_model("highnoon-nano", batch_size=2, **SMALL)
    assert (model.training_config.learning_rate, model.training_config.batch_size) == (3e-3, 2)
    assert not is_given(model.training_config.learning_rate)
    assert hn.create_model("highnoon-nano", learning_rate=1e-3, **SMALL).training_config.learning_rate == 1e-3
    hn.save_model(model, tmp_path / "saved")
    assert hn.load_model(tmp_path / "saved").training_config.learning_rate == 3e-3


@pytest.mark.parametrize(("steps", "warmup"), [(60, 6), (5, 0)])
def test_every_entrance_warms_up_for_the_same_tenth(corpus, steps, warmup):
    stage = {"name": "all", "datasets": [corpus], "steps": steps}
    model = {**SMALL, "num_heads": 2}
    trainers = [
        make_trainer(corpus, steps),
        make_trainer(corpus, steps, config=TrainingConfig()),
        make_trainer(corpus, steps, model=hn.create_model(hn.Config(model=hn.ModelConfig(**model)))),
        make_trainer(corpus, steps, warmup_steps=None),
        hn.Recipe(model=model, stages=[stage]).make_trainer(),
        hn.Recipe(preset="highnoon-nano", model=SMALL, stages=[stage]).make_trainer(),
    ]
    plans = [trainer.plan() for trainer in trainers]
    assert {plan.warmup_steps for plan in plans} == {warmup}
    assert not any("warmup_steps" in note or "warm-up" in note for plan in plans for note in plan.notes)


def test_a_long_run_warms_up_for_a_thousand_steps_and_a_given_number_is_taken():
    assert TrainingConfig().warmup_of(60_000) == 1000
    assert TrainingConfig(warmup_steps=1000).warmup_of(1500) == 1000
    assert TrainingConfig(warmup_steps=None) == TrainingConfig() and TrainingConfig().warmup_of(1500) == 150
    assert TrainingConfig(warmup_steps=0).warmup_of(1500) == 0


def test_only_a_warmup_that_was_asked_for_and_does_not_fit_is_noted(corpus):
    plan = make_trainer(corpus, steps=40, warmup_steps=1000).plan()
    assert plan.warmup_steps == 4
    assert "`warmup_steps`=1,000 does not fit into a run of 40 steps" in str(plan)


@pytest.mark.slow
def test_a_run_of_a_former_version_resumes_with_its_rate_and_warmup(corpus):
    """Before presets had rates, a run without one took 1e-4, and a configuration 1000 steps of warm-up."""
    former = {"learning_rate": 1e-4, "warmup_steps": 3}
    make_trainer(corpus, steps=4, **former).train(checkpoint_dir="former", **QUIET)
    resumed = make_trainer(corpus, steps=4)
    summary = resumed.train(resume_from="former", checkpoint_dir="former", **QUIET)
    assert summary["total_steps"] == 4
    assert (resumed.config.learning_rate, resumed.config.warmup_steps) == (1e-4, 3)
    with pytest.raises(
        hn.training.CheckpointError, match="learning_rate is 0.001 now, 0.0001 in the checkpoint"
    ):
        make_trainer(corpus, steps=4, learning_rate=1e-3).train(
            resume_from="former", checkpoint_dir="former", **QUIET
        )
