"""Exports a trained model to a folder that another library loads.

  highnoon export my-run/best --format hf --output my-model-hf

`hf` is for `transformers.AutoModelForCausalLM.from_pretrained`; LoRA factors are merged into the weights.
docs/guides/weights.md lists the patterns that can be exported.
"""

from __future__ import annotations

import argparse
import sys

from highnoon.cli.model_options import add_model_option, open_model, require_given
from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.config import require_path
from highnoon.files.print_text import print_text

SUMMARY = "write a trained model for another library, with LoRA factors merged"


def configure(parser: argparse.ArgumentParser) -> None:
    add_model_option(parser)
    parser.add_argument(
        "--format",
        choices=["hf", "peft"],
        default="hf",
        help="hf: Hugging Face transformers (default); peft: the LoRA factors alone, for PEFT",
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="the new folder, or an earlier export to replace"
    )


def run(arguments: argparse.Namespace) -> None:
    require_given(arguments, "model")
    require_path("--output", arguments.output)
    load_tensorflow()
    import highnoon as hn

    model = open_model(arguments.model, arguments.adapter)
    if arguments.format == "peft":
        from highnoon.models.adapters import base_of, save_adapter

        base = base_of(arguments.model)
        folder = save_adapter(model, arguments.output, format="peft", base_path=base)
        loaded = f'peft.PeftModel.from_pretrained(base, "{folder}")'
    else:
        folder = hn.export_model(model, arguments.output, format=arguments.format)
        loaded = f'transformers.AutoModelForCausalLM.from_pretrained("{folder}")'
    print(folder)
    print_text(f"written; load it by {loaded}", file=sys.stderr)
