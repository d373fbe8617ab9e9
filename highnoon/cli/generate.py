"""Continues a prompt with a trained model.

highnoon generate --model highnoon-demo/model --prompt "The module" --temperature 0.8 --seed 1
"""

from __future__ import annotations

import argparse
import sys

from highnoon.cli.model_options import add_model_option, add_sampling_options, sampling_arguments
from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.files.print_text import print_generated

SUMMARY = "continue a prompt with a trained model"


def configure(parser: argparse.ArgumentParser) -> None:
    add_model_option(parser)
    parser.add_argument("--prompt", required=True, help="text to continue; - reads it from standard input")
    add_sampling_options(parser)


def run(arguments: argparse.Namespace) -> None:
    load_tensorflow()
    import highnoon as hn

    prompt = sys.stdin.read() if arguments.prompt == "-" else arguments.prompt
    model = hn.load_model(arguments.model)
    print_generated(model.generate(prompt, **sampling_arguments(arguments)))
