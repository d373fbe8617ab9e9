"""What BDH, its spiking form and two transformers reach on 500,000 bytes of Shakespeare, with three seeds.

    python benchmarks/hatching_tinyshakespeare.py --data path/to/tinyshakespeare.txt
    python benchmarks/hatching_tinyshakespeare.py --official bdh.py

Models have the size of `hatching-nano`; the transformers have its parameters (within 5 percent) or its
operations of training on a token. All train on the same rows of 8 x 256 bytes with AdamW (decay 0.1, betas
0.9 and 0.999, clipping at 1), warm-up and cosine, without early stopping, each at the learning rate of
`RATES`; `--rates` prints the held-out loss of each at other rates after a fifth of the steps. The last tenth
of the text is held out. Every arm and seed has a folder of its own under `--output`: a finished one is read
back, and a run that was cut is resumed from its newest checkpoint, so that the same command may be given
again. No run begins that would exceed `--minutes`, as long as those of the same arm took.

`--official` compares BDH with the published code instead, the file `bdh.py` of github.com/pathwaycom/bdh,
with PyTorch: the same initial weights, batches of 8 x 256 and settings of AdamW (rate 0.001, decay 0.1 of
kernels, no clipping), without dropout, whose masks differ. It prints both losses at every 20th of 200 steps,
and fails where they differ by more than 1 percent. The next report of the arms contains them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import sys
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from lib.hatching_arms import hatching_arms
from lib.report import RESULTS, write_report

import highnoon as hn
from highnoon.models.costs import flops_per_token
from highnoon.tokenization import ByteTokenizer

ROWS, LENGTH, TOKENS = 8, 256, 500_000
RATES = {
    "bdh": 1e-3,
    "spiking_bdh": 1e-3,
    "transformer_of_equal_parameters": 3e-3,
    "transformer_of_equal_flops": 1e-3,
}
"""BDH's is that of its published training; the small transformer's is that of presets of its size, which
`preset_learning_rates.py` measures; of the large one, with 12 million parameters, a third of that."""
GRID = (3e-4, 1e-3, 3e-3)
DECAY = 0.1
OPERATIONS_PER_SECOND = 8e10
OFFICIAL_STEPS, OFFICIAL_INTERVAL, TOLERANCE = 200, 20, 0.01


class Arm:
    """One model, seed and rate, in a folder of its own."""

    def __init__(self, name: str, config: hn.ModelConfig, seed: int, steps: int, options: Any) -> None:
        self.name, self.config, self.seed, self.steps = name, config, seed, steps
        self.rate = RATES[name]
        self.data, self.rows, self.length = options.data, options.rows, options.length
        self.folder = pathlib.Path(options.output) / f"{name}-seed-{seed}"

    @property
    def _settings(self) -> dict[str, Any]:
        return {"model": self.config.to_dict(), "rate": self.rate, "steps": self.steps, "rows": self.rows}

    def finished(self) -> dict[str, Any] | None:
        """Returns the figures of a finished run; None where there are none.

        Raises:
            SystemExit: the folder is of a run with other settings.
        """
        file = self.folder / "figures.json"
        if not file.is_file():
            return None
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["settings"] != self._settings:
            raise SystemExit(f"{self.folder} is of other settings; give another --output, or delete it")
        return kept

    def expected_seconds(self) -> float:
        tokens = self.steps * self.rows * self.length
        return 30 + tokens * flops_per_token(self.config, self.length) / OPERATIONS_PER_SECOND

    def run(self) -> dict[str, Any]:
        """Trains, or resumes, and writes and returns the figures."""
        began = time.perf_counter()
        earlier = self.folder / "seconds.json"
        before = json.loads(earlier.read_text(encoding="utf-8")) if earlier.is_file() else 0.0
        keras.utils.set_random_seed(self.seed)
        model = hn.create_model(self.config)
        model.tokenizer = ByteTokenizer()
        trainer = hn.Trainer(
            model,
            learning_rate=self.rate,
            batch_size=self.rows,
            max_seq_length=self.length,
            weight_decay=DECAY,
            early_stopping_patience=None,
            seed=self.seed,
        )
        trainer.add_curriculum_stage("shakespeare", self.data, steps=self.steps)
        checkpoints = self.folder / "checkpoints"
        try:
            summary = trainer.train(
                checkpoint_dir=checkpoints,
                checkpoint_interval=max(1, self.steps // 5),
                log_interval=max(1, self.steps // 10),
                eval_interval=10**9,
                keep_checkpoints=1,
                resume_from=(checkpoints / "latest").exists(),
                log_dir=None,
            )
        finally:
            seconds = before + time.perf_counter() - began
            self.folder.mkdir(parents=True, exist_ok=True)
            earlier.write_text(json.dumps(seconds), encoding="utf-8")
        figures = {
            "settings": self._settings,
            # The held-out text is read once, at the end: half an epoch has no evaluation before.
            "held_out_bits_per_byte": summary["best_bits_per_byte"],
            "tokens": trainer.progress.tokens_seen,
            "seconds": before + time.perf_counter() - began,
        }
        (self.folder / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
        return figures


def compare_arms(options: argparse.Namespace) -> None:
    sizes = (options.width, options.multiplier, options.levels, options.length)
    configs = hatching_arms(*sizes)
    steps = max(1, options.tokens // (options.rows * options.length))
    # Seeds first: a measurement that is cut has all arms with fewer seeds.
    arms = [
        Arm(name, configs[name], seed, steps, options)
        for seed in range(options.seeds)
        for name in options.arm or configs
    ]
    left = sum(arm.expected_seconds() for arm in arms if arm.finished() is None)
    print(f"{len(arms)} runs of {steps} steps, about {left / 60:.0f} minutes on two free cores", flush=True)
    results: dict[str, list[dict[str, Any]]] = {}
    spent, skipped = 0.0, 0
    for arm in arms:
        figures = arm.finished()
        if figures is None:
            known = results.get(arm.name, [])
            needed = known[-1]["seconds"] if known else arm.expected_seconds()
            if spent + needed > 60 * options.minutes:
                print(f"{arm.name}, seed {arm.seed}: no time is left; repeat with more --minutes")
                skipped += 1
                continue
            figures = arm.run()
        spent += figures["seconds"]
        results.setdefault(arm.name, []).append(figures)
        bits = figures["held_out_bits_per_byte"]
        print(
            f"{arm.name}, seed {arm.seed}: {bits:.4f} bits a byte in {figures['seconds']:.0f} s", flush=True
        )
    write_report("hatching_tinyshakespeare", _figures(results, configs, steps, options, skipped))


def _figures(
    results: dict[str, list[dict[str, Any]]],
    configs: dict[str, hn.ModelConfig],
    steps: int,
    options: argparse.Namespace,
    skipped: int,
) -> dict[str, Any]:
    sizes = {"steps": steps, "tokens": steps * options.rows * options.length}
    figures: dict[str, Any] = {**sizes, "minutes": 0.0, "runs_left_out": skipped, **_kept(options, sizes)}
    for name, of_arm in results.items():
        bits = [run["held_out_bits_per_byte"] for run in of_arm]
        figures |= {
            f"{name}_parameters": hn.models.count_parameters(configs[name]),
            f"{name}_mflops_per_token": flops_per_token(configs[name], options.length) / 1e6,
            f"{name}_learning_rate": RATES[name],
            f"{name}_seeds": len(bits),
            f"{name}_bits_per_byte": statistics.mean(bits),
            f"{name}_bits_per_byte_deviation": statistics.stdev(bits) if len(bits) > 1 else 0.0,
            f"{name}_bits_per_byte_lowest": min(bits),
            f"{name}_bits_per_byte_highest": max(bits),
            f"{name}_seconds": statistics.median(run["seconds"] for run in of_arm),
        }
    # Other work on the machine may slow some runs down: the median of an arm stands for each of its runs.
    seconds = [
        figures[f"{name}_seeds"] * figures[f"{name}_seconds"]
        for name in configs
        if f"{name}_seeds" in figures
    ]
    figures["minutes"] = sum(seconds) / 60
    official = _official_file(options)
    return figures | (json.loads(official.read_text(encoding="utf-8")) if official.is_file() else {})


def _kept(options: argparse.Namespace, sizes: dict[str, int]) -> dict[str, Any]:
    """Returns the figures of the arms that are not measured now, from a report of the same sizes."""
    report = RESULTS / "hatching_tinyshakespeare.json"
    if not options.arm or not report.is_file():
        return {}
    earlier = json.loads(report.read_text(encoding="utf-8"))["figures"]
    others = tuple(f"{name}_" for name in RATES if name not in options.arm)
    return {
        key: value
        for key, value in earlier.items()
        if key.startswith(others) and sizes.items() <= earlier.items()
    }


def compare_rates(options: argparse.Namespace) -> None:
    """Prints what each arm reaches at each rate of `GRID` after a fifth of the steps, with seed 0."""
    configs = hatching_arms(options.width, options.multiplier, options.levels, options.length)
    steps = max(1, options.tokens // 5 // (options.rows * options.length))
    for name in options.arm or configs:
        for rate in GRID:
            arm = Arm(name, configs[name], 0, steps, options)
            arm.rate, arm.folder = rate, pathlib.Path(options.output) / f"{name}-rate-{rate:g}"
            figures = arm.finished() or arm.run()
            print(f"{name} at {rate:g}: {figures['held_out_bits_per_byte']:.4f} bits a byte", flush=True)


def compare_with_published(options: argparse.Namespace) -> None:
    """Trains BDH here and in the published code on the same rows, and compares the losses."""
    import torch

    from highnoon.models.hatching import load_bdh
    from highnoon.training.optimizers import AdamW
    from highnoon.training.steps.step import TrainStep

    published = _published(options)
    ours = load_bdh(published.state_dict(), options.levels, options.length, byte_tokenizer=False)
    optimizer = AdamW(1e-3, weight_decay=DECAY, epsilon=1e-8)
    optimizer.build(ours.trainable_variables)
    step = TrainStep(ours, optimizer, micro_batch_size=options.rows, gradient_clip=None)
    named = dict(published.named_parameters())
    groups = [
        {"params": [named.pop(name) for name in ("encoder", "encoder_v", "decoder")], "weight_decay": DECAY},
        {"params": list(named.values()), "weight_decay": 0.0},
    ]
    theirs = torch.optim.AdamW(groups, lr=1e-3, eps=1e-8)
    text = np.frombuffer(pathlib.Path(options.data).read_bytes(), np.uint8)
    random = np.random.default_rng(0)
    positions = np.tile(np.arange(options.length, dtype="int32"), (options.rows, 1))
    ones = np.ones((options.rows, options.length), "int32")
    losses, worst = {}, 0.0
    for number in range(1, options.official_steps + 1):
        starts = random.integers(0, len(text) - options.length - 1, options.rows)
        rows = np.stack([text[start : start + options.length + 1] for start in starts]).astype("int32")
        inputs, labels = rows[:, :-1], rows[:, 1:]
        batch = {"token_ids": inputs, "labels": labels, "loss_weights": ones.astype("float32")}
        loss = float(step({**batch, "segment_ids": ones, "positions": positions})["loss"])
        theirs.zero_grad()
        expected = published(torch.tensor(inputs).long(), torch.tensor(labels).long().contiguous())[1]
        expected.backward()
        theirs.step()
        if number % OFFICIAL_INTERVAL == 0:
            off = abs(loss - expected.item()) / expected.item()
            worst = max(worst, off)
            losses |= {f"loss_{number}": loss, f"published_loss_{number}": expected.item()}
            print(f"step {number}: {loss:.5f} here, {expected.item():.5f} published, {off:.3%}", flush=True)
    file = _official_file(options)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**losses, "largest_loss_difference": worst}), encoding="utf-8")
    print(f"largest difference {worst:.3%}, in {file}")
    if worst > TOLERANCE:
        raise SystemExit(f"the losses differ by {worst:.2%}; at most {TOLERANCE:.0%} was expected")


def _official_file(options: argparse.Namespace) -> pathlib.Path:
    return pathlib.Path(options.output) / "official.json"


def _published(options: argparse.Namespace) -> Any:
    import torch

    spec = importlib.util.spec_from_file_location("published_bdh", options.official)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["published_bdh"] = module
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    return module.BDH(module.BDHConfig(options.levels, options.width, 0.0, 4, options.multiplier))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = os.environ.get("HIGHNOON_DATA")
    parser.add_argument("--data", default=folder and f"{folder}/plain/tinyshakespeare.txt", help="the text")
    parser.add_argument("--output", default="hatching_tinyshakespeare_runs", help="the folder of the runs")
    parser.add_argument("--minutes", type=float, default=75.0, help="of all runs together")
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arm", action="append", choices=RATES, help="this alone; may be given again")
    parser.add_argument("--rates", action="store_true", help="compare learning rates instead")
    parser.add_argument("--official", metavar="BDH_PY", help="compare with the published code instead")
    parser.add_argument("--official-steps", type=int, default=OFFICIAL_STEPS)
    sizes = {"rows": ROWS, "length": LENGTH, "width": 128, "multiplier": 32, "levels": 6}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if not options.data or not pathlib.Path(options.data).is_file():
        parser.error("give the text file with --data, or set HIGHNOON_DATA")
    if options.official:
        compare_with_published(options)
    elif options.rates:
        compare_rates(options)
    else:
        compare_arms(options)


if __name__ == "__main__":
    main()
