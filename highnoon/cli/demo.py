"""Trains a small mixture-of-experts model on text that every Python has, tries it, and prints the next steps.

  highnoon demo
  highnoon demo --minutes 2 --output my-demo

The text is the documentation and the source of this Python's own standard library, read in place;
nothing is downloaded. The model is trained in three stages (documentation, source, both), saved, compared on
held-out documents with `gzip -9` on the same bytes, and continues a prompt.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import time
from typing import TYPE_CHECKING, Any

from highnoon.cli.evaluate import measure, open_rows, print_figures
from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.cli.train import print_next_commands
from highnoon.config import (
    Config,
    ConfigError,
    ModelConfig,
    TrainingConfig,
    require_count,
    require_number,
    require_path,
)
from highnoon.files.folder_lock import folder_lock
from highnoon.training.recipes.check_recipe import require_writable

if TYPE_CHECKING:
    from highnoon.models import LanguageModel
    from highnoon.training import Trainer

MAX_SEED = 2**32 - 1  # of `keras.utils.set_random_seed`
SUMMARY = "train and try a small model in minutes, on text that Python ships"


@dataclasses.dataclass(frozen=True)
class DemoSettings:
    """What the demo trains.

    Args:
        model: The model.
        training: How it is trained. A small fraction is held out, since each stage's end evaluates all of it.
        stages: Name, datasets and fraction of the steps of each stage; the last has all datasets.
        calibration_steps: Steps of a temporary model that measures how many fit into the time.
        prompts: Prompts that the trained model continues.
        prompt_tokens: New tokens of each.
    """

    model: ModelConfig = ModelConfig(
        vocab_size=2048,
        embedding_dim=160,
        num_reasoning_blocks=4,
        max_seq_length=256,
        num_moe_experts=4,
        expert_dim=224,
        num_heads=4,
        num_kv_heads=2,
    )
    training: TrainingConfig = TrainingConfig(
        learning_rate=3e-3,
        batch_size=8,
        max_seq_length=256,
        weight_decay=0.1,
        adam_beta2=0.98,
        early_stopping_patience=None,
        validation_split=0.03,
    )
    stages: tuple[tuple[str, tuple[str, ...], float], ...] = (
        ("documentation", ("stdlib:docs",), 0.2),
        ("source", ("stdlib:code",), 0.3),
        ("both", ("stdlib:docs", "stdlib:code"), 0.5),
    )
    calibration_steps: int = 16
    prompts: tuple[str, ...] = ("This module provides ", "def read(self, ")
    prompt_tokens: int = 80

    @property
    def datasets(self) -> list[str]:
        return list(self.stages[-1][1])


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--output",
        default="highnoon-demo",
        metavar="DIR",
        help="folder for all results (default highnoon-demo)",
    )
    add("--minutes", type=float, default=3.75, metavar="M", help="time for the training steps (default 3.75)")
    add("--seed", type=int, default=42, metavar="N", help="seed of weights and order (default 42)")


def run(arguments: argparse.Namespace) -> None:
    require_number("--minutes", arguments.minutes, above=0, most=1e6)
    require_count("--seed", arguments.seed, least=0, most=MAX_SEED)
    require_path("--output", arguments.output)
    try:
        require_writable("--output", pathlib.Path(arguments.output))
    except ConfigError as error:
        raise ConfigError(f"{error}; choose another: highnoon demo --output my-demo") from None
    load_tensorflow()
    output = pathlib.Path(arguments.output)
    with folder_lock(output, "wait until it ends, or give another --output"):
        run_demo(DemoSettings(), output, arguments.minutes, arguments.seed)


def run_demo(settings: DemoSettings, output: pathlib.Path, minutes: float, seed: int) -> dict[str, Any]:
    """Trains, saves, measures and samples; returns the figures of the measurement."""
    print("HighNoon demo: a small language model from the text of this Python's standard library.\n")
    tokenizer, num_steps = calibrate(settings, minutes, seed)
    model = make_model(settings, seed)
    trainer = make_trainer(settings, model, tokenizer, num_steps, seed)
    shape = settings.model
    print(
        f"model: {model.count_params():,} parameters; each token uses {shape.num_experts_per_tok} of "
        f"{shape.num_moe_experts} experts in each of {shape.num_reasoning_blocks} layers\n"
    )
    trainer.train(
        checkpoint_dir=output / "checkpoints",
        checkpoint_interval=max(1, num_steps // 4),
        log_interval=max(1, num_steps // 50),
        eval_interval=2 * num_steps,  # the end of each stage has an evaluation
        log_dir=output / "logs",
        callbacks=_loss_curve(output / "loss.png"),
    )
    trainer.save(output / "model")
    print("\nOn held-out text:")
    figures = measure(model, open_rows(model, settings.datasets, is_held_out=True))
    print_figures(figures)
    for prompt in settings.prompts:
        print(f"\n--- continuing {prompt!r}:")
        print(model.generate(prompt, max_length=settings.prompt_tokens, temperature=0.7, seed=seed))
    print(f"\nAll of it is in {output}: model, checkpoints, logs with metrics.jsonl, the loss as loss.png.")
    print_next_commands(output)
    return figures


def make_model(settings: DemoSettings, seed: int) -> LanguageModel:
    import keras

    import highnoon as hn

    keras.utils.set_random_seed(seed)
    return hn.create_model(Config(model=settings.model, training=settings.training))


def make_trainer(
    settings: DemoSettings, model: LanguageModel, tokenizer: Any, num_steps: int, seed: int
) -> Trainer:
    """Returns a trainer whose stages have `num_steps` steps in all."""
    import highnoon as hn

    trainer = hn.Trainer(model, tokenizer=tokenizer, seed=seed)
    for name, datasets, fraction in settings.stages:
        trainer.add_curriculum_stage(name, datasets=list(datasets), steps=max(1, round(fraction * num_steps)))
    return trainer


def calibrate(settings: DemoSettings, minutes: float, seed: int) -> tuple[Any, int]:
    """Trains the tokenizer, and a temporary model for a few steps to measure the speed of this machine.

    Returns:
        The tokenizer, and the number of optimizer steps that fit into `minutes`.
    """
    import highnoon as hn

    started = time.monotonic()
    trainer = hn.Trainer(make_model(settings, seed), seed=seed, validation_split=0.0)
    trainer.add_curriculum_stage("calibration", settings.datasets, steps=settings.calibration_steps)
    trainer.plan()
    print(
        f"text read, tokenizer of {trainer.tokenizer.vocab_size:,} ids trained on it: "
        f"{time.monotonic() - started:.0f} s"
    )
    speeds: list[float] = []

    def record_speed(event: dict[str, Any]) -> None:
        if event["event"] == "log":
            speeds.append(event["metrics"]["train/tokens_per_second"])

    trainer.train(
        save_checkpoints=False,
        log_dir=None,
        verbose=False,
        callbacks=[record_speed],
        log_interval=max(1, settings.calibration_steps // 2),
    )
    tokens_per_step = trainer.rows_per_step * settings.training.max_seq_length
    num_steps = max(len(settings.stages), int(minutes * 60 * speeds[-1] / tokens_per_step))
    print(f"this machine: {speeds[-1]:,.0f} tokens a second, {num_steps:,} steps in {minutes:g} minutes")
    return trainer.tokenizer, num_steps


def _loss_curve(path: pathlib.Path) -> list[Any]:
    from highnoon.callbacks import LossCurve

    try:
        return [LossCurve(path)]
    except ImportError as error:
        print(f"no picture of the loss: {error}\n")
        return []
