"""Continues a prompt with a trained model.

  highnoon generate highnoon-demo --prompt "The module" --temperature 0.8 --seed 1
  echo "The module" | highnoon generate my-run/best --prompt -

MODEL is the folder of a run, of its checkpoints, or of a model; in a run, best, final, latest and
interrupted name a checkpoint.
"""

from __future__ import annotations

import argparse
import sys

from highnoon.cli.model_options import (
    Once,
    add_model_option,
    add_sampling_options,
    open_model,
    require_given,
    sampling_arguments,
)
from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.files.print_text import print_generated

SUMMARY = "continue a prompt with a trained model"


def configure(parser: argparse.ArgumentParser) -> None:
    add_model_option(parser)
    parser.add_argument("prompt", nargs="?", action=Once, default=argparse.SUPPRESS, metavar="PROMPT")
    parser.add_argument("--prompt", action=Once, help="text to continue; - reads it from standard input")
    add_sampling_options(parser)


def run(arguments: argparse.Namespace) -> None:
    require_given(arguments, "model", "prompt")
    load_tensorflow()

    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    model = open_model(arguments.model, arguments.adapter)
    print_generated(model.generate(prompt, **sampling_arguments(arguments)))
