"""An entire run as one value: read from YAML, from keywords or from a saved run, checked, executed, saved.

`Recipe` and its checks load no TensorFlow; the functions that make a model or a trainer do. What a recipe
leaves open is chosen by its text and the machine: `choose_preset`, and the files next to it.
"""

from highnoon.training.recipes.choose_preset import choose_preset
from highnoon.training.recipes.hatching.check_sweep import check_sweep
from highnoon.training.recipes.machine import Machine
from highnoon.training.recipes.preset_choice import PresetChoice
from highnoon.training.recipes.recipe import Recipe
from highnoon.training.recipes.text_size import TextSize, measure_text

__all__ = ["Machine", "PresetChoice", "Recipe", "TextSize", "check_sweep", "choose_preset", "measure_text"]
