"""The routers that `router_type` names."""

from __future__ import annotations

from typing import Any

import keras

from highnoon.files.shown import shown
from highnoon.layers.experts.routers.causal_expert_choice_router import CausalExpertChoiceRouter
from highnoon.layers.experts.routers.hash_router import HashRouter
from highnoon.layers.experts.routers.router import Router
from highnoon.layers.experts.routers.sigmoid_router import SigmoidRouter
from highnoon.layers.experts.routers.soft_router import SoftRouter
from highnoon.layers.experts.routers.top_k_router import TopKRouter

ROUTERS: dict[str, type[Router]] = {
    cls.name: cls for cls in (TopKRouter, SigmoidRouter, HashRouter, SoftRouter, CausalExpertChoiceRouter)
}


def router_class(name: Any) -> type[Router]:
    """Returns the class of a `router_type`.

    Raises:
        ValueError: there is none, or it lets tokens see later ones.
    """
    if name == "expert_choice":
        raise ValueError(
            '`router_type="expert_choice"` lets an expert compare a token with later ones, so a causal '
            'model refuses it; take "causal_expert_choice" or "top_k"'
        )
    if not isinstance(name, str) or name not in ROUTERS:
        raise ValueError(f"`router_type` must be one of {', '.join(ROUTERS)}; received {shown(name)}")
    return ROUTERS[name]


def router_of(router: Any, router_type: str, arguments: dict[str, Any]) -> Router:
    """Returns the router that a layer's arguments describe.

    Args:
        router: A `Router`, its serialized form, or None for one of `router_type`.
        router_type: A name of `ROUTERS`.
        arguments: Of the class of that name.

    Raises:
        ValueError: `router` is no router, or an argument is out of its range.
    """
    if router is None:
        return router_class(router_type)(**arguments)
    if isinstance(router, dict):
        router = keras.saving.deserialize_keras_object(router)
    if not isinstance(router, Router):
        raise ValueError(f"`router` must be a Router; received {shown(router)}")
    return router
