"""An entire training run as one value."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from highnoon.config import (
    Config,
    ConfigError,
    default,
    get_preset_config,
    is_given,
    read_yaml,
    require_count,
    require_flag,
    require_path,
    require_text,
    resolve_keys,
)
from highnoon.files.expand_home import expand_home
from highnoon.training.recipes import recipe_keys as check
from highnoon.training.recipes.hatching.translate_recipe import translate_recipe
from highnoon.training.recipes.recipe_file import find_recipe, write_recipe
from highnoon.training.recipes.recipe_keys import check_keys, key
from highnoon.training.recipes.recipe_overrides import with_overrides
from highnoon.training.recipes.recipe_sections import (
    MODEL_KEYS,
    MODEL_SOURCES,
    SECTIONS,
    refuse_keys_of_sections,
    section_keys,
)
from highnoon.training.recipes.recipe_stages import (
    canonical_curriculum,
    canonical_stages,
    describe_datasets,
    describe_stage,
)
from highnoon.training.runs.run_folder import require_run_name

if TYPE_CHECKING:
    from highnoon.training.trainer import Trainer

PATHS = ("tokenizer", "data_dir", "cache_dir", "output", "checkpoint_dir", "log_dir")
INVOCATION_KEYS = ("resume_from", "extend", "allow_plan_change")
"""What concerns one start of a run and is not saved with it."""
STRATEGIES = ("auto", "one_device", "mirrored")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training run: model, data, stages, objective, training, callbacks and outputs.

    Every key may be left out except `stages` (or `tasks` and `curriculum`). A leading `~` of a path is the
    home folder.

    Args:
        preset: Preset that `model` starts from. A recipe that says neither a preset nor the size of its model
            gets one that fits its text and the machine, see `completed`.
        model: `ModelConfig` fields, for a model with new weights; or `path` (or `hf`), the folder of a
            saved model or of a Hugging Face model whose weights to start from; or `family`, the name of a
            registered family, with the arguments of its class. In addition: `task`, see `create_model`;
            `dtype`, a Keras dtype policy such as `mixed_bfloat16`; `gradient_checkpointing`, whether training
            stores the input of each block alone and recomputes the rest; and `lora`, the arguments of
            `enable_lora`: `rank`, and optionally `target_layer_names` and `alpha`; the factors alone are
            then saved in `output/adapter` too.
        training: `TrainingConfig` fields.
        stages: A list of mappings with the arguments of `Trainer.add_curriculum_stage`: `name`, `datasets`,
            `epochs`, `steps` or `tokens`, `weight`, `balance`, `max_repeats`, `optional`, ...; with
            `overrides` (of `training`, for the stage) and `scheduler` (of `CurriculumScheduler`; with
            `adaptive: true` of `AdaptiveCurriculumScheduler`). A dataset is a name, a `[name, weight]` pair,
            or a mapping of `name` and options of `open_source`.
        steps: Optimizer steps of each stage, in place of its own length: for a quick trial of a recipe.
        tasks: Task to dataset, for `curriculum`.
        curriculum: `stages`, a list of `iters` and `weights` by task, see `task_mix_stages`; `optional`
            tasks, `max_iters`, and `enabled`, which switches it off where it is false.
        objective: What stages minimize that do not say it themselves: a name, or a mapping of `name` and
            arguments; None predicts the next token.
        tokenizer: A `tokenizer.json` or its folder; left out, one is trained on the data.
        data_dir: Folder of local copies of named datasets.
        cache_dir: Folder for tokenized data, see `Trainer`.
        output: Folder for `model/`, `checkpoints/`, `logs/` and `recipe.yaml`.
        checkpoint_dir: Folder of the checkpoints, in place of `output/checkpoints`.
        log_dir: Folder of the logs, in place of `output/logs`.
        epochs_per_stage: Epochs of a stage that sets neither epochs nor steps; another name for
            `epochs` of `training`.
        save_checkpoints: Whether to write checkpoints.
        checkpoint_interval: Steps between checkpoints.
        keep_checkpoints: How many of the newest checkpoints to keep.
        keep_every: Steps of which every multiple is kept too.
        log_interval: Steps between log points.
        eval_interval: Steps between evaluations on held-out text.
        evaluators: Further figures at each evaluation: names of registered evaluators, or mappings of `name`
            and arguments.
        restore_best: Whether the model ends with the weights of the lowest held-out loss, see `train`; None
            does so where the length of the run is chosen, see `completed`.
        validation_data: Held-out data of the stages that have no `validation_data` of their own: a dataset or
            a list of them.
        validation_steps: Batches of an evaluation during the run at most.
        validation_batch_size: Rows of one replica in these batches.
        histograms: Whether TensorBoard gets histograms of gradients and weights at each log point.
        run_name: What the run is called in its folder of logs, in `highnoon monitor` and in TensorBoard.
        verbose: Whether to print the plan and show progress.
        weight_mode: What the `weight` of a stage multiplies: `loss` or `learning_rate`.
        strategy: `auto`, `one_device`, or `mirrored` for all GPUs of this machine.
        on_callback_error: `raise` or `warn`.
        jit_compile: Whether XLA compiles the forward and backward pass; None decides by the model.
        auto_batch: Whether to halve micro-batches that do not fit into memory.
        steps_per_execution: Most optimizer steps in one call of the device.
        allow_oversize: Whether to try what exceeds the memory of this machine.
        resume_from: A checkpoint to resume from, or true for the highest step in the run's own folder.
        extend: Whether a resumed run may become longer than it was.
        allow_plan_change: Whether a resumed run may differ in anything.
        alerts: `rules` and `actions` of `highnoon.callbacks.Alerts`.
        wandb: Arguments of `highnoon.callbacks.WandbLog`, such as `project`; empty logs nothing there.
        sample_prompts: Texts that the model continues at each evaluation, into `metrics.jsonl`.

    Raises:
        ConfigError: a key that is not known, naming the nearest, or a value of another type.

    Example:

    ```python
    import highnoon as hn

    recipe = hn.Recipe(
        preset="highnoon-nano",
        training={"learning_rate": 3e-3},
        stages=[{"name": "docs", "datasets": "stdlib:docs", "steps": 5}],
    )
    summary = recipe.train()
    again = hn.Recipe.load("highnoon-run", {"stages.docs.steps": 8, "output": "longer-run"})
    ```
    """

    preset: str | None = key(None, require_text, is_nullable=True)
    model: Mapping[str, Any] = key(dict, check.mapping)
    training: Mapping[str, Any] = key(dict, check.mapping)
    stages: Sequence[Mapping[str, Any]] = key((), check.stages)
    steps: int | None = key(None, require_count, is_nullable=True)
    tasks: Mapping[str, Any] = key(dict, check.mapping)
    curriculum: Mapping[str, Any] = key(dict, check.curriculum)
    objective: Any = key(None, check.anything)
    tokenizer: str | None = key(None, require_path, is_nullable=True)
    data_dir: str | None = key(None, require_path, is_nullable=True)
    cache_dir: str | None = key(None, require_path, is_nullable=True)
    output: str = key("highnoon-run", require_path)
    checkpoint_dir: str | None = key(None, require_path, is_nullable=True)
    log_dir: str | None = key(None, require_path, is_nullable=True)
    epochs_per_stage: int = key(default(10), require_count)
    save_checkpoints: bool = key(True, require_flag)
    checkpoint_interval: int = key(1000, require_count)
    keep_checkpoints: int = key(3, require_count)
    keep_every: int | None = key(None, require_count, is_nullable=True)
    log_interval: int = key(100, require_count)
    eval_interval: int = key(500, require_count)
    evaluators: Sequence[Any] = key((), check.sequence)
    restore_best: bool | None = key(None, require_flag, is_nullable=True)
    validation_data: Any = key(None, check.anything)
    validation_steps: int | None = key(None, require_count, is_nullable=True)
    validation_batch_size: int | None = key(None, require_count, is_nullable=True)
    histograms: bool = key(False, require_flag)
    run_name: str | None = key(None, require_run_name, is_nullable=True)
    verbose: bool = key(True, require_flag)
    weight_mode: str = key("loss", check.one_of("loss", "learning_rate"))
    strategy: str = key("auto", check.one_of(*STRATEGIES))
    on_callback_error: str = key("raise", check.one_of("raise", "warn"))
    jit_compile: bool | None = key(None, require_flag, is_nullable=True)
    auto_batch: bool = key(False, require_flag)
    steps_per_execution: int = key(1, require_count)
    allow_oversize: bool = key(False, require_flag)
    resume_from: str | bool | None = key(None, check.checkpoint, is_nullable=True)
    extend: bool = key(False, require_flag)
    allow_plan_change: bool = key(False, require_flag)
    alerts: Mapping[str, Any] = key(dict, check.alerts)
    wandb: Mapping[str, Any] = key(dict, check.mapping)
    sample_prompts: Sequence[str] = key((), check.prompts)

    def __post_init__(self) -> None:
        check_keys(self)
        for name in PATHS:  # the shell does not expand the paths in a file, nor those after a `=`
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, str(expand_home(os.fspath(path))))
        object.__setattr__(self, "stages", canonical_stages(self.stages, self.steps))
        object.__setattr__(self, "curriculum", canonical_curriculum(self.curriculum, self.steps))
        for section in SECTIONS:
            if section == "training" or "family" not in self.model:
                given = resolve_keys(getattr(self, section), section_keys(section), f"`{section}`")
                object.__setattr__(self, section, given)
        object.__setattr__(self, "sample_prompts", list(self.sample_prompts))
        object.__setattr__(self, "evaluators", list(self.evaluators))
        resolve_keys(self.alerts, {"rules", "actions"}, "`alerts`")
        self._check_model_source()

    def _check_model_source(self) -> None:
        sources = [name for name in MODEL_SOURCES if name in self.model]
        if "family" in self.model:
            require_text("model.family", self.model["family"])
            if self.preset is not None or sources:
                other = f"model.{sources[0]}" if sources else "preset"
                raise ConfigError(f"`model.family` names the class of a new model; leave `{other}` out")
        if not sources:
            return
        require_path(f"model.{sources[0]}", self.model[sources[0]])
        others = [*sources[1:], *(name for name in self.model if name not in MODEL_KEYS)]
        if self.preset is not None or others:
            other = f"`model.{others[0]}`" if others else "`preset`"
            raise ConfigError(
                f"`model.{sources[0]}` names a saved model, whose config.json gives its shape; "
                f"leave {other} out"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], owner: str = "the recipe") -> Recipe:
        """Returns the recipe of a mapping, such as a YAML file holds.

        Raises:
            ConfigError: as the class.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if isinstance(values, Mapping):
            values = translate_recipe(values, known)
        refuse_keys_of_sections(values, known, owner)
        return cls(**resolve_keys(values, known, owner))

    @classmethod
    def load(cls, path: str | os.PathLike[str], overrides: Mapping[str, Any] | Sequence[str] = ()) -> Recipe:
        """Reads a YAML or JSON file, or the recipe of a saved run.

        Args:
            path: The file, or the folder of a run (`output`), its checkpoints or its model.
            overrides: Values by dotted key, such as `{"model.dropout": 0.1, "stages.0.steps": 2}`, or
                `key=value` words of the same; they replace what the file says.

        Raises:
            ConfigError: there is no such file, or as the class.
        """
        file = find_recipe(path)
        values = read_yaml(file)
        try:
            return cls.from_dict(with_overrides(values, overrides, _known_keys()))
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from None

    def with_overrides(self, overrides: Mapping[str, Any] | Sequence[str]) -> Recipe:
        """Returns a copy with values replaced; see `load`.

        Raises:
            ConfigError: as the class.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Recipe.from_dict(with_overrides(values, overrides, _known_keys()))

    @property
    def checkpoint_folder(self) -> pathlib.Path:
        """The folder of the run's checkpoints."""
        return (
            pathlib.Path(self.output, "checkpoints")
            if self.checkpoint_dir is None
            else pathlib.Path(self.checkpoint_dir)
        )

    @property
    def log_folder(self) -> pathlib.Path:
        """The folder of the run's logs."""
        return pathlib.Path(self.output, "logs") if self.log_dir is None else pathlib.Path(self.log_dir)

    @property
    def has_task_mix(self) -> bool:
        """Whether stages of mixed tasks follow the other stages."""
        return bool(self.curriculum) and bool(self.curriculum.get("enabled", True))

    @property
    def model_source(self) -> str | None:
        """Folder of the model whose weights the run starts from; None for new weights."""
        return next((os.fspath(self.model[name]) for name in MODEL_SOURCES if name in self.model), None)

    def config(self) -> Config:
        """Returns the configuration of the model and of its training: the preset's, with the fields given.

        The model's part does not apply to a model of a folder or of a family.

        Raises:
            ConfigError: an unknown preset, or a value out of its range.
        """
        base = Config() if self.preset is None else get_preset_config(self.preset)
        parts = {}
        for section in SECTIONS:
            given = {name: value for name, value in getattr(self, section).items() if name not in MODEL_KEYS}
            if section == "model" and "family" in self.model:
                given = {}
            try:
                part = getattr(base, section)
                is_training = section == "training"
                parts[section] = part.updated(given) if is_training else dataclasses.replace(part, **given)
            except ConfigError as error:
                raise ConfigError(f"`{section}`: {error}") from None
        config = Config(**parts)
        if is_given(self.epochs_per_stage) and is_given(config.training.epochs):
            raise ConfigError(
                "`epochs_per_stage` and `epochs` of `training` name the same number; give one of them"
            )
        return config

    def to_dict(self) -> dict[str, Any]:
        """Returns the resolved recipe: every value that was given or is a default, the preset's included.

        A run repeats from it whatever later versions take as defaults. Left out is what concerns one start
        of the run alone: `resume_from`, `extend` and `allow_plan_change`.
        """
        config = self.config()
        training = config.training.to_dict()
        if not is_given(config.training.epochs):
            del training["epochs"]
        is_other = self.model_source is not None or "family" in self.model
        model = dict(self.model) if is_other else {**config.model.to_dict(), **self.model}
        left_out = {"preset", "steps", *SECTIONS, *INVOCATION_KEYS}
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in left_out and is_given(getattr(self, field.name))
        }
        if "stages" in values:
            values["stages"] = [describe_stage(stage) for stage in values["stages"]]
        values["validation_data"] = describe_datasets(self.validation_data)
        return {"model": model, "training": training, **{k: v for k, v in values.items() if v is not None}}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the resolved recipe as YAML, which `load` reads.

        Raises:
            ConfigError: it has a value that a file cannot hold, such as a source made in Python.
        """
        write_recipe(self.to_dict(), expand_home(path))

    def completed(self) -> Recipe:
        """Returns the recipe with a model and a length, chosen by text and machine where none is given.

        A model is chosen where the recipe gives no preset, no saved model, no family and no size
        (`embedding_dim` or `num_reasoning_blocks`), and then also the length of stages that have none. What
        is given is never changed. It prints what it chose and why. A run that resumes keeps what it began
        with, on any machine.

        Raises:
            ConfigError: something that the run would refuse.
            DataError: the text cannot be found or read.
        """
        from highnoon.training.recipes.complete_recipe import complete_recipe

        return complete_recipe(self)

    def make_trainer(self) -> Trainer:
        """Makes the model and the trainer with all stages, after every check that needs neither.

        Raises:
            ConfigError: something that the run would refuse, now or in the middle.
        """
        from highnoon.training.recipes.make_trainer import make_trainer

        return make_trainer(self.completed())

    def train(self, callbacks: Sequence[Any] = ()) -> dict[str, Any]:
        """Runs the recipe: trains, then saves the model into `output/model`.

        Args:
            callbacks: More callbacks.

        Returns:
            The summary of `Trainer.train`.
        """
        from highnoon.training.recipes.run_recipe import run_recipe

        recipe = self.completed()
        return run_recipe(recipe, recipe.make_trainer(), callbacks)


def _known_keys() -> set[str]:
    return {field.name for field in dataclasses.fields(Recipe)}
