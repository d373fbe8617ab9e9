"""What a configuration means covers every field, and differs where functions do."""

from __future__ import annotations

import dataclasses

from highnoon.config import ModelConfig
from highnoon.models.hugging_face.meaning import TRAINING_ALONE, meaning
from highnoon.models.parts import feed_forward_names, mixer_names, whole_block_names

ALL = [
    f"{mixer}+{feed_forward}"
    for mixer in mixer_names()
    for feed_forward in feed_forward_names()
    if mixer not in whole_block_names()
]


def test_every_field_is_compared_or_known_to_act_in_training_alone():
    used = set(meaning(ModelConfig(embedding_dim=64, block_pattern=", ".join(ALL))))
    stack = {"block_pattern", "num_reasoning_blocks"}  # together they are `layers`
    fields = {field.name for field in dataclasses.fields(ModelConfig)}
    assert used - {"layers"} == fields - TRAINING_ALONE - stack


def test_the_same_stack_means_the_same_however_it_is_written():
    once = ModelConfig(embedding_dim=64, block_pattern="mamba, mamba", num_reasoning_blocks=1)
    twice = ModelConfig(embedding_dim=64, block_pattern="mamba", num_reasoning_blocks=2, ssm_time_step_rank=4)
    assert meaning(once) == meaning(twice)
    assert meaning(once) != meaning(dataclasses.replace(twice, ssm_time_step_rank=5))


def test_a_field_of_an_absent_layer_means_nothing():
    dense = ModelConfig(embedding_dim=64, block_pattern="transformer")
    assert meaning(dense) == meaning(dataclasses.replace(dense, num_moe_experts=3, state_dim=7))
