"""What a configuration says of experts arrives at the layer."""

from __future__ import annotations

import dataclasses

from highnoon.config import ModelConfig
from highnoon.models.parts.moe import MixtureOfExperts

FIELDS = {
    "num_moe_experts": 12,
    "num_experts_per_tok": 3,
    "expert_dim": 40,
    "num_shared_experts": 2,
    "router_type": "sigmoid",
    "normalize_gates": False,
    "routed_scale": 2.5,
    "num_expert_groups": 4,
    "num_groups_per_tok": 2,
    "bias_update_rate": 0.5,
    "capacity_factor": 1.5,
    "aux_loss_weight": 0.25,
    "router_z_loss_weight": 0.125,
    "load_entropy_weight": 0.75,
}


def test_every_field_of_the_experts_arrives_at_the_layer():
    defaults = {field.name: field.default for field in dataclasses.fields(ModelConfig)}
    assert all(defaults[name] != value for name, value in FIELDS.items())
    layer = MixtureOfExperts().build(ModelConfig(**FIELDS))
    names = {"num_moe_experts": "num_experts"}
    assert {name: layer.get_config()[names.get(name, name)] for name in FIELDS} == FIELDS
