"""What `highnoon train` does, as one value: read from YAML, a preset and dotted options."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from highnoon.cli.run_file_checks import check_values
from highnoon.config import Config, ConfigError, default, get_preset_config, is_given, read_yaml, resolve_keys
from highnoon.files.expand_home import expand_home
from highnoon.files.foreign import ForeignDataError, parse_yaml

SECTIONS = ("model", "training")
PATHS = ("tokenizer", "data_dir", "output", "checkpoint_dir")
STAGE_KEYS = {
    "name",
    "datasets",
    "epochs",
    "steps",
    "tokens",
    "weight",
    "overrides",
    "scheduler",
    "balance",
    "max_repeats",
    "optional",
}
CURRICULUM_KEYS = {"enabled", "stages", "max_iters", "optional"}


@dataclasses.dataclass(frozen=True)
class RunFile:
    """A training run as a YAML file describes it; every key may be left out but `stages`.

    A leading `~` of a path is the home folder.

    Args:
        preset: Preset that `model` and `training` start from.
        model: `ModelConfig` fields.
        training: `TrainingConfig` fields.
        stages: A list of `name`, `datasets`, `epochs`, `steps` or `tokens`, `weight`, `balance`,
            `max_repeats`, `optional`, `overrides` (of `training`, for the stage) and `scheduler` (of
            `CurriculumScheduler`; with `adaptive: true` of `AdaptiveCurriculumScheduler`). A dataset is a
            name, a `[name, share]` pair, or a mapping of `name` and options of `open_source`.
        tasks: Task to dataset, for `curriculum`.
        curriculum: `stages`, a list of `iters` and `weights` by task, see `task_mix_stages`; `optional`
            tasks, `max_iters`, and `enabled`, which switches it off where it is false.
        tokenizer: A `tokenizer.json` or its folder; left out, one is trained on the data.
        data_dir: Where local copies of named datasets lie.
        output: Folder for `model/`, `checkpoints/` and `logs/`.
        checkpoint_dir: Folder of the checkpoints, in place of `output/checkpoints`.
        epochs_per_stage: Passes over the data of a stage that says neither epochs nor steps; another name for
            `epochs` of `training`.
        checkpoint_interval: Steps between checkpoints.
        keep_checkpoints: How many of the newest checkpoints stay.
        keep_every: Steps of which every multiple stays too.
        log_interval: Steps between log points.
        eval_interval: Steps between evaluations on held-out text.
        restore_best: Whether the model ends with the weights of the lowest held-out loss, see `train`.
        alerts: `rules` and `actions` of `highnoon.callbacks.Alerts`.
        wandb: Arguments of `highnoon.callbacks.WandbLog`, such as `project`; empty logs nothing there.
        sample_prompts: Texts that the model continues at each evaluation, into `metrics.jsonl`.
    """

    preset: str | None = None
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    stages: Sequence[Mapping[str, Any]] = ()
    tasks: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    curriculum: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tokenizer: str | None = None
    data_dir: str | None = None
    output: str = "highnoon-run"
    checkpoint_dir: str | None = None
    epochs_per_stage: int = default(10)
    checkpoint_interval: int = 1000
    keep_checkpoints: int = 3
    keep_every: int | None = None
    log_interval: int = 100
    eval_interval: int = 500
    restore_best: bool = False
    alerts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    wandb: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sample_prompts: Sequence[str] = ()

    def __post_init__(self) -> None:
        # The shell does not see the paths in a file, nor those after a `=`.
        for name in PATHS:
            path = getattr(self, name)
            if path is not None:
                object.__setattr__(self, name, str(expand_home(path)))

    @classmethod
    def load(cls, path: str | pathlib.Path) -> RunFile:
        """Reads a YAML or JSON file.

        Raises:
            ConfigError: no such file, a key that is not known, naming the nearest, or a value of another type
                than its key has.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        values = resolve_keys(read_yaml(path), known, str(path))
        try:
            check_values(values)
            listed = enumerate(values.get("stages", ()), start=1)
            stages = [_canonical_stage(stage, f"stage {number}") for number, stage in listed]
            resolve_keys(values.get("alerts", {}), {"rules", "actions"}, "`alerts`")
            curriculum = resolve_keys(values.get("curriculum", {}), CURRICULUM_KEYS, "`curriculum`")
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None
        return cls(**{**values, "stages": stages, "curriculum": curriculum})

    @property
    def checkpoint_folder(self) -> pathlib.Path:
        """The folder of the run's checkpoints."""
        return (
            pathlib.Path(self.output) / "checkpoints"
            if self.checkpoint_dir is None
            else pathlib.Path(self.checkpoint_dir)
        )

    @property
    def has_task_mix(self) -> bool:
        """Whether stages of mixed tasks follow the other stages."""
        return bool(self.curriculum) and bool(self.curriculum.get("enabled", True))

    def with_fields(self, dotted: Mapping[str, Any]) -> RunFile:
        """Returns a copy with fields set by `model.NAME` and `training.NAME`.

        Raises:
            ConfigError: a field that does not exist, or one that is given under two names.
        """
        options: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        for key, value in dotted.items():
            section, _, name = key.partition(".")
            if section not in SECTIONS:
                raise ConfigError(f"`--{key}` is no option: expected --model.FIELD or --training.FIELD")
            options[section][name] = value
        sections = {}
        for section in SECTIONS:
            fields = field_names(section)
            given = resolve_keys(getattr(self, section), fields, f"`{section}`")
            sections[section] = given | resolve_keys(options[section], fields, f"--{section}")
        return dataclasses.replace(self, model=sections["model"], training=sections["training"])

    def config(self) -> Config:
        """Returns the model's and the run's configuration: the preset's, with the fields given on top.

        Raises:
            ConfigError: an unknown preset or field, or a value out of its range.
        """
        base = Config() if self.preset is None else get_preset_config(self.preset)
        parts = {}
        for section in SECTIONS:
            given = resolve_keys(getattr(self, section), field_names(section), f"`{section}`")
            try:
                parts[section] = dataclasses.replace(getattr(base, section), **given)
            except ConfigError as error:
                raise ConfigError(f"`{section}`: {error}") from None
        config = Config(**parts)
        if is_given(self.epochs_per_stage) and is_given(config.training.epochs):
            raise ConfigError(
                "`epochs_per_stage` and `epochs` of `training` name the same number; give one of them"
            )
        return config


def _canonical_stage(stage: Any, owner: str) -> dict[str, Any]:
    resolved = resolve_keys(stage, STAGE_KEYS, owner)
    for key in ("name", "datasets"):
        if key not in resolved:
            raise ConfigError(f"{owner} has no `{key}`")
    return resolved


def field_names(section: str) -> set[str]:
    return {field.name for field in dataclasses.fields(getattr(Config(), section))}


def dotted_fields(leftover: Sequence[str]) -> dict[str, Any]:
    """Reads `--model.embedding_dim 256` and `--training.learning_rate=3e-4` into a mapping.

    Raises:
        argparse.ArgumentError: an option without a value, or a word that belongs to none.
        ConfigError: an option given twice, or a value that is not YAML.
    """
    fields: dict[str, Any] = {}
    words = list(leftover)
    while words:
        option, has_value, value = words.pop(0).partition("=")
        if not option.startswith("--"):
            raise argparse.ArgumentError(None, f"unrecognized arguments: {option}")
        if not has_value:
            if not words:
                raise argparse.ArgumentError(None, f"{option} needs a value")
            value = words.pop(0)
        if option[2:] in fields:
            raise ConfigError(f"`{option}` is given twice; give it once")
        try:
            fields[option[2:]] = parse_yaml(value, option, expected=object)
        except ForeignDataError as error:
            raise ConfigError(str(error)) from None
    return fields
