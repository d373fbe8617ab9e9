"""Exports a trained model to a folder that another library loads.

  highnoon export --model highnoon-demo/model --format hf --output my-model-hf

`hf` is for `transformers.AutoModelForCausalLM.from_pretrained`; docs/guides/weights.md lists the patterns
that can be exported.
"""

from __future__ import annotations

import argparse

from highnoon.cli.model_options import add_model_option
from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.config import require_path

SUMMARY = "write a trained model for another library"


def configure(parser: argparse.ArgumentParser) -> None:
    add_model_option(parser)
    parser.add_argument(
        "--format", choices=["hf"], default="hf", help="hf: Hugging Face transformers (default)"
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="the new folder, or an earlier export to replace"
    )


def run(arguments: argparse.Namespace) -> None:
    require_path("--output", arguments.output)
    load_tensorflow()
    import highnoon as hn

    model = hn.load_model(arguments.model)
    print(hn.export_model(model, arguments.output, format=arguments.format))
