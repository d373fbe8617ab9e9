"""Chooses a preset, a vocabulary and the length of a run by the text and the machine."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from highnoon.config import GENERAL_PRESETS, ModelConfig, TrainingConfig, get_preset_config
from highnoon.training.recipes.machine import Machine
from highnoon.training.recipes.preset_choice import PresetChoice
from highnoon.training.recipes.text_size import TextSize, measure_text

TOKENS_PER_PARAMETER = 20
"""Tokens to train on for each parameter that a token passes: Hoffmann et al. 2022 (arXiv:2203.15556)."""
USEFUL_EPOCHS = 4
"""Epochs that teach nearly as much as new text: Muennighoff et al. 2023 (arXiv:2305.16264)."""
LEAST_STEPS = 500
"""Steps below which even the smallest preset has learned little; short text is repeated more often."""
MOST_EPOCHS, MOST_EPOCHS_WITHOUT_HELD_OUT = 40, 10
"""A run with held-out text ends by itself before it has learned its text by heart; one without cannot."""
CPU_SECONDS = 600.0
GPU_SECONDS = 10_800.0
"""How long a run may take that nobody gave a length: minutes without a GPU, hours with one."""
START_SECONDS = 20.0
"""Imports, tokenizer, compilation and saving of a small run: benchmarks/first_run.py."""
MEMORY_FRACTION = 0.5
"""Of all memory, for weights, gradients and moments; activations and everything else take the rest."""
SMALLEST_VOCABULARY = 512
LARGEST_VOCABULARY = 32_000
_VOCABULARY_OF_A_MEGABYTE = 1024
_MEGABYTE = 1e6


def choose_preset(text: Any, machine: Machine | None = None) -> PresetChoice:
    """Chooses a preset, a vocabulary and a length for text.

    The choice depends on the size of the text and on the class of the machine (cores, memory, GPUs), never on
    a measurement, so that the same text on the same machine always gives the same.

    - The preset is the largest of `highnoon-*` that trains on 20 tokens a parameter, in at most 4 epochs and
      in at most 10 minutes (3 hours on a GPU), and fits into half of the memory; else the smallest.
    - The vocabulary grows with the root of the text, from 1,024 ids for a megabyte to 32,000 for a gigabyte,
      so that each id is seen often; the embedding has at most half of the model's parameters.
    - The length is 4 epochs; more of short text, until 500 steps; fewer where the time does not suffice.

    Args:
        text: Bytes of text, a `TextSize`, or datasets as `Trainer.add_curriculum_stage` takes them.
        machine: The machine; None for this one.

    Raises:
        DataError: a dataset cannot be found or read.

    Example:

    ```python
    from highnoon.training.recipes import Machine, choose_preset

    choice = choose_preset(1_100_000, Machine(num_cores=2, memory_bytes=8 * 2**30))
    assert (choice.preset, choice.vocab_size, choice.length) == ("highnoon-nano", 1024, {"epochs": 4})
    ```
    """
    if isinstance(text, int):
        text = TextSize(text)
    elif not isinstance(text, TextSize):
        text = measure_text(text)
    machine = Machine.this() if machine is None else machine
    chosen = next(
        (name for name in reversed(GENERAL_PRESETS) if _is_learnable(name, text, machine)), GENERAL_PRESETS[0]
    )
    config = get_preset_config(chosen, vocab_size=choose_vocabulary(get_preset_config(chosen).model, text))
    epochs, steps, fraction, seconds = choose_length(config.model, config.training, text, machine)
    return PresetChoice(
        preset=chosen,
        vocab_size=config.model.vocab_size,
        epochs=epochs,
        steps=steps,
        fraction=fraction,
        seconds=seconds,
        text=text,
        machine=machine,
    )


def choose_length(
    model: ModelConfig | None, training: TrainingConfig, text: TextSize, machine: Machine
) -> tuple[int | None, int | None, float, float | None]:
    """Returns how long a run lasts: epochs or None, steps or None, how often it reads the text, and seconds.

    Args:
        model: The model; None for one whose size is not known, which is then trained for as long as the text
            is worth, and the seconds are None.
        training: Says the size of a step.
        text: The text.
        machine: The machine.
    """
    rows = training.global_batch_size or training.batch_size * training.gradient_accumulation_steps
    row_length = (
        training.max_seq_length if model is None else min(training.max_seq_length, model.max_seq_length)
    )
    vocab_size = LARGEST_VOCABULARY if model is None else model.vocab_size
    tokens = max(1.0, count_tokens(text, vocab_size) * (1.0 - training.validation_split))
    steps_of_epoch = math.ceil(tokens / (rows * row_length))
    is_held_out = training.validation_split > 0 and text.holds_out
    most_epochs = MOST_EPOCHS if is_held_out else MOST_EPOCHS_WITHOUT_HELD_OUT
    epochs = max(USEFUL_EPOCHS, min(most_epochs, LEAST_STEPS // steps_of_epoch))
    if model is None:
        return epochs, None, float(epochs), None
    from highnoon.models.costs import flops_per_token

    seconds_of_step = rows * row_length * flops_per_token(model, row_length) / machine.operations_per_second
    budget = _seconds(machine) / seconds_of_step
    if budget >= steps_of_epoch:
        epochs = min(epochs, int(budget // steps_of_epoch))
        return epochs, None, float(epochs), START_SECONDS + epochs * steps_of_epoch * seconds_of_step
    steps = max(1, int(budget))
    return None, steps, steps / steps_of_epoch, START_SECONDS + steps * seconds_of_step


def count_tokens(text: TextSize, vocab_size: int) -> float:
    """Returns about how many tokens a text has, by the vocabulary of its tokenizer.

    A token of English has 2 bytes in a vocabulary of 512 and 0.45 more for each doubling, at most 4.4.
    """
    return text.num_bytes / min(4.4, 2.0 + 0.45 * math.log2(max(vocab_size, 512) / 512))


def choose_vocabulary(model: ModelConfig, text: TextSize) -> int:
    """Returns the vocabulary of a model for a text: that of the prepared data, or else a power of two.

    It is at most the model's own, or so large that the embedding has half of the parameters.

    Args:
        model: The model, with the vocabulary that it has by itself.
        text: The text.
    """
    from highnoon.models.memory import count_parameters

    if text.tokenizer_size is not None:
        return text.tokenizer_size
    half = count_parameters(model) / model.embedding_dim - model.vocab_size
    wanted = _VOCABULARY_OF_A_MEGABYTE * math.sqrt(max(text.num_bytes, 1) / _MEGABYTE)
    wanted = min(wanted, LARGEST_VOCABULARY, max(model.vocab_size, half))
    if wanted >= LARGEST_VOCABULARY:
        return LARGEST_VOCABULARY
    return 2 ** int(math.log2(max(SMALLEST_VOCABULARY, wanted)))


def _is_learnable(preset: str, text: TextSize, machine: Machine) -> bool:
    """Whether text, time and memory suffice for a preset."""
    from highnoon.models.costs import flops_per_token
    from highnoon.models.memory import bytes_to_train, count_parameters

    own = get_preset_config(preset).model
    config = dataclasses.replace(own, vocab_size=choose_vocabulary(own, text))
    if machine.num_gpus == 0 and bytes_to_train(config) > MEMORY_FRACTION * machine.memory_bytes:
        return False
    needed = TOKENS_PER_PARAMETER * count_parameters(config, active=True)
    in_time = (
        _seconds(machine) * machine.operations_per_second / flops_per_token(config, config.max_seq_length)
    )
    in_text = USEFUL_EPOCHS * count_tokens(text, config.vocab_size)
    return needed <= min(in_time, in_text)


def _seconds(machine: Machine) -> float:
    return GPU_SECONDS if machine.num_gpus else CPU_SECONDS
