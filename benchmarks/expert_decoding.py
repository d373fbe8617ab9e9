"""Tokens a second of a mixture: plain, with lazy experts, with prompt look-up, and with a diffusion drafter.

    python benchmarks/expert_decoding.py --data texts.jsonl --steps 300

Three experts are trained on the source code of Python's standard library and on `--data` (default: its
documentation), by bytes: a transformer on the code, a Mamba-2 on the texts, and block diffusion on both, then
a router over them. With `--top-k` experts a token, the mixture continues the beginnings of held-out documents
of both kinds, one row at a time, in forms that take turns:

    plain             every expert reads every token
    lazy              experts that are not chosen do not run
    look_up           lazy, with prompt look-up
    drafter           lazy, with the diffusion expert as drafter, off where it does not pay
    always_drafter    the same, never off

Figures are over the prompts whose plain text does not end in a loop: tokens a second of each form over those
of the plain one, medians over the rounds of all prompts together, and of the speculative forms the acceptance
and the tokens of a pass. The first call of each form, which compiles, is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from lib.report import write_report

import highnoon as hn
from highnoon.data import DocumentSource, StandardLibrary, open_source
from highnoon.experts import ExpertRouter, LazyMixture, MixtureObjective, MixtureOfModels
from highnoon.inference import SpeculativeGenerator, generate
from highnoon.tokenization import ByteTokenizer

ROW_LENGTH, CONTEXT, PROMPT = 128, 512, 96
CHARACTERS = 4000
LONGEST_LOOP, LOOP_TOKENS = 24, 64

Forms = dict[str, tuple[Callable[..., Any], Any]]


def train(model: Any, texts: dict[str, list[str]], steps: int, objective: Any = None) -> Any:
    model.tokenizer = ByteTokenizer()
    options = {"batch_size": 16, "max_seq_length": ROW_LENGTH, "learning_rate": 3e-3, "warmup_steps": 20}
    trainer = hn.Trainer(model, seed=0, objective=objective, **options)
    for name, given in texts.items():
        trainer.add_curriculum_stage(name, given, steps=steps // len(texts))
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train(log_dir=None, save_checkpoints=False, verbose=False)
    return trainer.model


def make_mixture(texts: dict[str, list[str]], arguments: argparse.Namespace) -> MixtureOfModels:
    def expert(pattern: str, seed: int, names: list[str], objective: Any = None) -> Any:
        keras.utils.set_random_seed(seed)
        model = hn.LanguageModel(
            vocab_size=ByteTokenizer().vocab_size,
            embedding_dim=arguments.width,
            num_reasoning_blocks=arguments.blocks,
            max_seq_length=CONTEXT,
            block_pattern=pattern,
        )
        return train(model, {name: texts[name] for name in names}, arguments.steps, objective)

    experts = [
        expert("attention+mlp", 0, ["code"]),
        expert("mamba2", 1, ["texts"]),
        expert("attention+mlp", 2, ["code", "texts"], "block_diffusion"),
    ]
    keras.utils.set_random_seed(3)
    router = ExpertRouter.for_experts(experts, embedding_dim=arguments.router_width)
    router = train(router, texts, arguments.steps // 2, MixtureObjective(experts))
    return MixtureOfModels(experts, router, top_k=arguments.top_k)


def texts_of(source: DocumentSource, count: int) -> tuple[list[str], list[str]]:
    """The beginnings of some documents: those to train on, and every tenth, which is held out."""
    documents = itertools.islice((d for d in source.documents() if len(d.text) > 4 * PROMPT), count)
    texts = [document.text[:CHARACTERS] for document in documents]
    return [text for n, text in enumerate(texts) if n % 10], texts[::10]


def ends_in_a_loop(ids: list[int]) -> bool:
    """Whether the last tokens repeat with a short period."""
    last = ids[-LOOP_TOKENS:]
    return any(last[period:] == last[:-period] for period in range(1, LONGEST_LOOP + 1))


def forms_of(mixture: MixtureOfModels, arguments: argparse.Namespace) -> Forms:
    """How each form generates, and its generator where it is speculative."""
    lazy, drafter = LazyMixture(mixture), mixture.experts[2]
    options = {"num_speculative_tokens": arguments.drafts, "acceptance_rate_target": None}
    generators = {
        "look_up": SpeculativeGenerator(lazy, lowest_speed=None, **options),
        "drafter": SpeculativeGenerator(lazy, drafter, **options),
        "always_drafter": SpeculativeGenerator(lazy, drafter, lowest_speed=None, **options),
    }
    plain = {
        "plain": (lambda ids, **given: generate(mixture, ids, **given), None),
        "lazy": (lambda ids, **given: generate(lazy, ids, **given), None),
    }
    return plain | {name: (generator.generate, generator) for name, generator in generators.items()}


def measure(
    forms: Forms,
    prompts: list[list[int]],
    rounds: int,
    options: dict[str, Any],
) -> dict[str, float]:
    """Tokens a second of each form, and what its drafts gained."""
    texts = [forms["plain"][0](ids, strip_prompt=True, **options) for ids in prompts]
    kept = [
        ids
        for ids, text in zip(prompts, texts, strict=True)
        if len(text) > LOOP_TOKENS and not ends_in_a_loop(text)
    ]
    figures: dict[str, float] = {"prompts": len(prompts), "prompts_without_loop": len(kept)}
    if not kept:
        return figures
    for run, _ in forms.values():  # compiles
        run(kept[0], **options)
    rates: dict[str, list[float]] = {name: [] for name in forms}
    gains: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, (run, generator) in forms.items():
            num_tokens, seconds = 0, 0.0
            for ids in kept:
                began = time.perf_counter()
                num_tokens += len(run(ids, strip_prompt=True, **options))
                seconds += time.perf_counter() - began
                if generator is not None:
                    gains[name].append((generator.acceptance_rate, generator.tokens_per_pass))
            rates[name].append(num_tokens / seconds)
    plain = statistics.median(rates["plain"])
    figures["plain_tokens_per_second"] = plain
    for name in list(forms)[1:]:
        figures[f"{name}_over_plain"] = statistics.median(rates[name]) / plain
    for name, found in gains.items():
        if found:
            accepted = [rate for rate, _ in found if not np.isnan(rate)]
            figures[f"{name}_acceptance"] = float(np.mean(accepted)) if accepted else 0.0
            figures[f"{name}_tokens_per_pass"] = float(np.mean([tokens for _, tokens in found]))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="a name or path of texts; default: Python's documentation")
    parser.add_argument("--steps", type=int, default=300, help="of each expert; the router takes half")
    parser.add_argument("--documents", type=int, default=200, help="of each kind, their first characters")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--router-width", type=int, default=32)
    parser.add_argument("--top-k", type=int, default=1)
    parser.add_argument("--drafts", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=8, help="of each kind")
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--modes", nargs="+", choices=["greedy", "drawn"], default=["greedy", "drawn"])
    arguments = parser.parse_args()
    sources = {
        "code": StandardLibrary(("code",)),
        "texts": open_source(arguments.data) if arguments.data else StandardLibrary(("docs",)),
    }
    texts = {name: texts_of(source, arguments.documents) for name, source in sources.items()}
    mixture = make_mixture({name: trained for name, (trained, _) in texts.items()}, arguments)
    forms = forms_of(mixture, arguments)
    figures: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in ("steps", "width", "blocks", "top_k", "drafts", "new_tokens", "rounds")
    }
    modes = {"greedy": {"temperature": 0}, "drawn": {"temperature": 0.8, "top_k": 0, "seed": 0}}
    for kind, (_, held_out) in texts.items():
        prompts = [ByteTokenizer().encode(text)[:PROMPT] for text in held_out[: arguments.prompts]]
        for mode in arguments.modes:
            options = {"max_length": arguments.new_tokens, **modes[mode]}
            found = measure(forms, prompts, arguments.rounds, options)
            figures |= {f"{kind}_{mode}_{name}": value for name, value in found.items()}
    write_report("expert_decoding", figures)


if __name__ == "__main__":
    main()
