"""What a trained router makes of three frozen experts, compared with one model of the same compute.

    python benchmarks/expert_mixture.py --data path/to/domains

The experts are a transformer, a state-space model and a model of block diffusion over bytes. Four fifths of
the text of each are from its own domains. A router is trained on a balanced mix of other documents, and a
single transformer on a balanced mix of all training documents, in as many steps as make its operations those
of the three experts together. Losses are nats a byte of held-out documents, averaged over the domains: of the
experts, of mixtures with equal weights (a new router), with the best constant weights of the router's text,
with the trained router, and of the single model.

Checked for each seed: equal weights are at most the mean of the experts; constant weights are at most 0.001
above the best expert; the trained router is at least 0.03 below it. The single model may win.

Every run has a folder under `--output`: a finished one is read back, and one that was cut is resumed from its
newest checkpoint, so that the same command may be given again.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from lib.expert_texts import BOTH, EXPERTS, ROUTER, ExpertTexts
from lib.held_out_mixture import held_out_losses
from lib.report import write_report
from lib.resumable_run import ResumableRun

import highnoon as hn
from highnoon.experts import ExpertRouter, MixtureObjective
from highnoon.models.costs import flops_per_token
from highnoon.tokenization import ByteTokenizer

LENGTH = 256
KINDS = {
    "attention": ("attention+mlp", ("general",)),
    "state_space": ("mamba2(state_dim=16)+mlp", ("drama", "children")),
    "diffusion": ("attention+mlp", ("theology",)),
}
"""The pattern of each expert, and the domains of four fifths of its text."""
TRAINING = {"learning_rate": 3e-3, "batch_size": 4, "max_seq_length": LENGTH, "warmup_steps": 20}
ROUTER_TRAINING = {**TRAINING, "batch_size": 8}
SMALLEST_GAIN, LARGEST_LOSS = 0.03, 1e-3
DEVIATING = ("best_expert", "mean_expert", "equal", "constant", "mixture", "single")


class Seed:
    """The runs of one seed."""

    def __init__(self, seed: int, texts: ExpertTexts, options: argparse.Namespace) -> None:
        self.seed, self.texts, self.options = seed, texts, options
        self.folder = pathlib.Path(options.output) / f"seed-{seed}"
        self.training = {**TRAINING, "cache_dir": str(pathlib.Path(options.output) / "cache")}

    def figures(self) -> dict[str, float]:
        """Trains what is not yet trained, and returns the losses by name, and the seconds of training."""
        runs = {name: self._expert(name) for name in KINDS}
        experts = [str(self.folder / name / "model") for name in KINDS]
        single = self._single()
        router = self._router(experts)
        losses = held_out_losses(
            experts,
            str(self.folder / "single" / "model"),
            str(self.folder / "router" / "model"),
            self.texts,
            LENGTH,
            self.training["cache_dir"],
        )
        of_runs = {**runs, "single": single, "router": router}
        return losses | {f"{name}_seconds": run["seconds"] for name, run in of_runs.items()}

    def _expert(self, name: str) -> dict[str, Any]:
        config = self.config(KINDS[name][0])
        objective = "block_diffusion" if name == "diffusion" else None
        mix = self.texts.mix(EXPERTS, KINDS[name][1])
        steps = self.options.tokens // (TRAINING["batch_size"] * LENGTH)
        return self._run(name, config, mix, steps, objective)

    def _single(self) -> dict[str, Any]:
        config = self.config("attention+mlp")
        tokens = self.options.tokens * self.operations() / flops_per_token(config, LENGTH)
        steps = round(tokens / (TRAINING["batch_size"] * LENGTH))
        return self._run("single", config, self.texts.mix(BOTH), steps)

    def _router(self, experts: list[str]) -> dict[str, Any]:
        fields = {"embedding_dim": self.options.router_width, "max_seq_length": LENGTH}
        steps = self.options.router_tokens // (ROUTER_TRAINING["batch_size"] * LENGTH)
        settings = {**fields, "steps": steps, "training": ROUTER_TRAINING}
        vocab_size = ByteTokenizer().vocab_size
        run = ResumableRun(
            self.folder / "router",
            settings,
            self.seed,
            lambda: with_bytes(ExpertRouter(len(experts), vocab_size, **fields)),
        )
        training = {**self.training, **ROUTER_TRAINING}
        return run.run(self.texts.mix(ROUTER), steps, MixtureObjective(experts), **training)

    def _run(
        self, name: str, config: hn.ModelConfig, mix: Any, steps: int, objective: str | None = None
    ) -> dict[str, Any]:
        settings = {"model": config.to_dict(), "steps": steps, "weights": [w for _, w in mix]}
        settings["training"] = TRAINING
        run = ResumableRun(
            self.folder / name, settings, self.seed, lambda: with_bytes(hn.create_model(config))
        )
        figures = run.run(mix, steps, objective, **self.training)
        print(f"seed {self.seed}: {name}, {steps} steps in {figures['seconds']:.0f} s", flush=True)
        return figures

    def config(self, pattern: str) -> hn.ModelConfig:
        return hn.ModelConfig(
            vocab_size=ByteTokenizer().vocab_size,
            embedding_dim=self.options.width,
            num_reasoning_blocks=self.options.blocks,
            max_seq_length=LENGTH,
            num_heads=2,
            block_pattern=pattern,
        )

    def operations(self) -> float:
        """Operations of training on a token, of all experts; a model of block diffusion reads it twice."""
        each = {name: flops_per_token(self.config(pattern), LENGTH) for name, (pattern, _) in KINDS.items()}
        return sum(each.values()) + each["diffusion"]


def with_bytes(model: Any) -> Any:
    model.tokenizer = ByteTokenizer()
    return model


def checks(losses: dict[str, float]) -> dict[str, bool]:
    return {
        "equal weights are at most the mean of the experts": losses["equal"] <= losses["mean_expert"] + 1e-6,
        "constant weights are near the best expert": losses["constant"]
        <= losses["best_expert"] + LARGEST_LOSS,
        "the trained router gains": losses["mixture"] <= losses["best_expert"] - SMALLEST_GAIN,
    }


def summary(found: list[dict[str, float]]) -> dict[str, float]:
    """Returns the mean of each figure over the seeds, and the standard deviation of the losses."""
    figures: dict[str, float] = {"seeds": len(found)}
    for name in found[0]:
        values = [losses[name] for losses in found]
        figures[name] = statistics.mean(values)
        if name in DEVIATING:
            figures[f"{name}_deviation"] = statistics.stdev(values) if len(values) > 1 else 0.0
    gains = [losses["best_expert"] - losses["mixture"] for losses in found]
    figures |= {"gain": statistics.mean(gains), "smallest_gain": min(gains)}
    figures["minutes"] = sum(v for n, v in figures.items() if n.endswith("_seconds")) * len(found) / 60
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = os.environ.get("HIGHNOON_DATA")
    parser.add_argument("--data", default=folder and f"{folder}/domains", help="the folder of domains")
    parser.add_argument("--output", default="expert_mixture_runs", help="the folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=300_000, help="that each expert reads")
    parser.add_argument("--router-tokens", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=128, help="of the experts and of the single model")
    parser.add_argument("--blocks", type=int, default=2, help="of the experts and of the single model")
    parser.add_argument("--router-width", type=int, default=64)
    parser.add_argument("--held-out-bytes", type=int, default=30_000, help="of each domain")
    parser.add_argument("--router-bytes", type=int, default=60_000, help="of each domain")
    options = parser.parse_args()
    if not options.data or not pathlib.Path(options.data).is_dir():
        parser.error("give the folder of domains with --data, or set HIGHNOON_DATA")
    output = pathlib.Path(options.output)
    texts = ExpertTexts(
        pathlib.Path(options.data), output / "texts", options.held_out_bytes, options.router_bytes
    )
    found, failed = [], []
    for number in range(options.seeds):
        seed = Seed(number, texts, options)
        losses = seed.figures()
        found.append(losses)
        print(
            "\n".join(f"seed {number}: {name:24} {value:.4f}" for name, value in losses.items()), flush=True
        )
        failed += [f"seed {number}: {name}" for name, holds in checks(losses).items() if not holds]
    parameters = {
        name: hn.models.count_parameters(seed.config(pattern)) for name, (pattern, _) in KINDS.items()
    }
    report = {"tokens_of_an_expert": options.tokens, "router_tokens": options.router_tokens}
    report |= {f"{name}_parameters": count for name, count in parameters.items()}
    report["single_over_expert_operations"] = seed.operations() / flops_per_token(
        seed.config("attention+mlp"), LENGTH
    )
    write_report("expert_mixture", {**report, **summary(found), "checks_failed": len(failed)})
    if failed:
        raise SystemExit("not so: " + "; ".join(failed))


if __name__ == "__main__":
    main()
