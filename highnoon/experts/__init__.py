"""Frozen language models under one router, and memories of their training text.

- `runs`: trains experts and router by name, and assembles the mixture.
- `expert_kinds`, `autoregressive_kind`, `block_diffusion_kind`: how a frozen language model gives the
  distribution of the next token.
- `shared_tokenizer`: the one tokenizer of all experts.
- `router`: the weights of the experts, for each token.
- `mixture`, `mixture_family`, `mixed_log_probs`: the mixture of the experts' distributions, as one model.
- `hidden_fusion`, `hidden_fusion_family`, `expert_states`, `document_positions`: the experts' hidden states,
  fused under one router, as one model.
- `frozen_experts`: what both models over experts share. `generates`: the methods that generate text.
- `diffuser`: a diffusion model of a transformer's hidden states, as one more expert of a fusion.
- `kept_experts`, `lazy_mixture`: the experts that a token uses, and decoding that runs these alone.
- `mixture_objective`, `expert_columns`: trains the router from a derived column, without running an expert.
- `vector_memory`, `memory_stores`, `state_reader`, `own_tokens`, `memory_mix`: what followed the nearest
  states of training text, mixed into a model's distribution.
- `memory_model`, `memory_evaluation`: a model with its memory, which generates, and what the memory gains.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ExpertKind": "expert_kinds",
    "ExpertRouter": "router",
    "GaussianDiffuser": "diffuser.gaussian_diffuser",
    "GaussianDiffusion": "diffuser.gaussian_diffusion",
    "HiddenFusion": "hidden_fusion",
    "LazyMixture": "lazy_mixture",
    "MemoryMix": "memory_mix",
    "MemoryModel": "memory_model",
    "MixtureObjective": "mixture_objective",
    "MixtureOfModels": "mixture",
    "VectorMemory": "vector_memory",
    "evaluate_memory": "memory_evaluation",
    "expert_kind": "expert_kinds",
    "register_expert_kind": "expert_kinds",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
