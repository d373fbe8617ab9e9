"""Recipes in the keys of the Dragon Hatching training guide, translated to the keys of a recipe.

The guide's sections are `model` (`n_layer`, `n_embd`, `n_head`), `lif`, `stdp`, `bio`, `training`
(`max_iters`, `warmup_iters`), `curriculum` and `monitor`. Only names are translated here: the run is a
`Recipe`, and the recipe that a run saves has its own keys alone.
"""

from highnoon.training.recipes.hatching.check_sweep import check_sweep
from highnoon.training.recipes.hatching.translate_recipe import translate_recipe

__all__ = ["check_sweep", "translate_recipe"]
