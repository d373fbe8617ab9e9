"""Routers of a mixture of experts: each chooses the experts of a token, one file each."""

from highnoon.layers.experts.routers.causal_expert_choice_router import CausalExpertChoiceRouter
from highnoon.layers.experts.routers.hash_router import HashRouter
from highnoon.layers.experts.routers.router import Choice, Router
from highnoon.layers.experts.routers.router_names import ROUTERS, router_of
from highnoon.layers.experts.routers.sigmoid_router import SigmoidRouter
from highnoon.layers.experts.routers.soft_router import SoftRouter
from highnoon.layers.experts.routers.top_k_router import TopKRouter

__all__ = [
    "ROUTERS",
    "CausalExpertChoiceRouter",
    "Choice",
    "HashRouter",
    "Router",
    "SigmoidRouter",
    "SoftRouter",
    "TopKRouter",
    "router_of",
]
