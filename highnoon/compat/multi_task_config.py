"""The configuration of `MultiTaskTrainer`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.config import ConfigError, require_choice, resolve_keys
from highnoon.training.recipes.hatching.curriculum_section import STAGES, TASK_WEIGHTS
from highnoon.training.recipes.hatching.flat_keys import MODEL_TYPES
from highnoon.training.recipes.hatching.guide_keys import BIO, LIF, MONITOR, STDP, TRAINING
from highnoon.training.recipes.recipe import Recipe

_MODEL = ("n_layer", "n_embd", "n_head", "dropout", "vocab_size", "mlp_multiplier")
_OWN_KEYS = ("data_dir", "cache_dir", "tasks", "checkpoint_dir", "log_dir", "output", "run_name", "verbose")


@dataclasses.dataclass
class MultiTaskConfig:
    """What `TrainingConfig` is in the Dragon Hatching guide: a whole run in one flat class.

    It is read as a recipe with the guide's sections, whose names and defaults it has. Fields of None are left
    out.

    Args:
        model_type: `"hatching"`, with spiking neurons, or `"bdh"`.
        n_layer: Layers.
        n_embd: Width.
        n_head: Heads.
        dropout: Rate of dropout.
        vocab_size: 256 means bytes.
        mlp_multiplier: Neurons for each feature of the model.
        batch_size: Rows of a step.
        max_seq_len: Tokens of a row.
        learning_rate: Peak learning rate.
        weight_decay: Decay of the weights.
        max_iters: Steps of the run, the sum of the stages.
        warmup_iters: Steps of the warm-up.
        grad_clip: Largest global norm of the gradient.
        task_weights: The mix of a run without a curriculum.
        curriculum_enabled: Whether the stages are used.
        curriculum_stages: Mappings of `iters` and `weights`.
        tau_mem: See `highnoon.layers.hatching.SpikingBDHLayer`, as the next seven fields.
        tau_syn: Time constant of the synaptic current, in tokens.
        v_threshold: Potential above which a neuron fires.
        v_reset: Potential after a spike.
        sparsity_target: Fraction of neurons that should fire.
        sparsity_weight: Weight of the sparsity loss.
        excitatory_ratio: Fraction of neurons that excite; None for no such kinds.
        trace_decay: Decay of the fast weights a token; None for none.
        stdp_enabled: Whether spike timing changes weights after each step.
        tau_plus: Time constant of potentiation, in tokens.
        tau_minus: Time constant of depression, in tokens.
        A_plus: Size of potentiation.
        A_minus: Size of depression.
        log_freq: Steps between log points.
        eval_freq: Steps between evaluations.
        save_freq: Steps between checkpoints.
        seed: Seed of weights, dropout and the order of data.
        tasks: `"local"`, `"synthetic"`, or a mapping of tasks to data.
        data_dir: Folder of local copies of the tasks' data.
        cache_dir: Folder for tokenized data.
        checkpoint_dir: Folder of the checkpoints.
        log_dir: Folder of the logs.
        output: Folder of the final model and the saved recipe.
        run_name: What the run is called.
        verbose: Whether to print the plan and show progress.

    Example:

    ```python
    from highnoon.compat import MultiTaskConfig

    config = MultiTaskConfig(n_layer=2, max_iters=10, curriculum_enabled=False, tasks="synthetic")
    recipe = config.to_recipe()
    assert recipe.model["num_reasoning_blocks"] == 2 and recipe.curriculum["max_iters"] == 10
    ```
    """

    model_type: str = "hatching"
    n_layer: int = 6
    n_embd: int = 256
    n_head: int = 4
    dropout: float = 0.1
    vocab_size: int = 256
    mlp_multiplier: int | None = None
    batch_size: int = 32
    max_seq_len: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    max_iters: int = 10_000
    warmup_iters: int = 500
    grad_clip: float | None = 1.0
    task_weights: Mapping[str, float] = dataclasses.field(default_factory=lambda: dict(TASK_WEIGHTS))
    curriculum_enabled: bool = True
    curriculum_stages: Sequence[Mapping[str, Any]] = dataclasses.field(
        default_factory=lambda: [dict(stage) for stage in STAGES]
    )
    tau_mem: float = 10.0
    tau_syn: float = 5.0
    v_threshold: float = 1.0
    v_reset: float = 0.0
    sparsity_target: float = 0.1
    sparsity_weight: float = 0.001
    excitatory_ratio: float | None = None
    trace_decay: float | None = None
    stdp_enabled: bool = False
    tau_plus: float = 20.0
    tau_minus: float = 20.0
    A_plus: float = 0.01
    A_minus: float = 0.0105
    log_freq: int = 100
    eval_freq: int = 500
    save_freq: int = 1000
    seed: int = 42
    tasks: str | Mapping[str, Any] = "local"
    data_dir: str | os.PathLike[str] | None = None
    cache_dir: str | os.PathLike[str] | None = None
    checkpoint_dir: str | os.PathLike[str] = "checkpoints"
    log_dir: str | os.PathLike[str] = "logs"
    output: str | os.PathLike[str] = "hatching"
    run_name: str | None = None
    verbose: bool = True

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MultiTaskConfig:
        """Returns the configuration of a mapping.

        Raises:
            ConfigError: a key that is not known.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**resolve_keys(values, known, "MultiTaskConfig"))

    def to_recipe(self) -> Recipe:
        """Returns the run as a recipe.

        Raises:
            ConfigError: a value out of its range, under the guide's name of its key.
        """
        require_choice("model_type", self.model_type, MODEL_TYPES)
        if self.stdp_enabled and self.model_type == "bdh":
            raise ConfigError("`stdp_enabled` needs spiking neurons; leave `model_type` as 'hatching'")
        training = {**self._given(TRAINING), "seed": self.seed, "grad_clip": self.grad_clip}
        curriculum = {"enabled": self.curriculum_enabled, "stages": [dict(s) for s in self.curriculum_stages]}
        if not self.curriculum_enabled:
            curriculum = {"enabled": False, "task_weights": dict(self.task_weights)}
        sections: dict[str, Any] = {
            "model": self._given(_MODEL),
            "training": training,
            "curriculum": curriculum,
            "monitor": self._given(MONITOR),
        }
        if self.model_type == "hatching":
            sections |= {"lif": self._given(LIF), "bio": self._given(BIO)}
        if self.stdp_enabled:
            sections["stdp"] = {"enabled": True, **self._given(STDP)}
        return Recipe.from_dict({**sections, **self._given(_OWN_KEYS)})

    def _given(self, names: Any) -> dict[str, Any]:
        """Returns the fields of some names that are not None."""
        values = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return {name: value for name, value in values.items() if value is not None}
