"""Trains one expert of a mixture, by itself and with its own head.

  highnoon experts pretrain --expert transformer --data_dir my_texts --tokenizer byte
  highnoon experts pretrain --expert transformer --data_dir my_texts --tokenizer byte --resume

The best checkpoint is CHECKPOINT_DIR/EXPERT_expert, every fifth epoch EXPERT_expert_epoch5, and what Ctrl-C
leaves EXPERT_expert_interrupted; each of these names is a path for every verb.
"""

from __future__ import annotations

import argparse

from highnoon.cli.expert_actions.run_options import (
    add_run_options,
    configs_of,
    resuming_of,
    train_or_say_how_to_resume,
)
from highnoon.cli.process.quiet_start import load_tensorflow
from highnoon.compat.expert_configs import SECTIONS_OF
from highnoon.compat.expert_training import EXPERTS, pretrain_configured

SUMMARY = "train one expert by itself"
_SECTIONS = list(dict.fromkeys(section for expert in EXPERTS for section in SECTIONS_OF[expert]))


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--expert", required=True, choices=EXPERTS, help="which expert to train")
    add_run_options(parser, _SECTIONS)


def run(arguments: argparse.Namespace) -> None:
    configs = configs_of(arguments, _SECTIONS, SECTIONS_OF[arguments.expert])
    load_tensorflow()
    from highnoon.training.distributed import use_device

    use_device(arguments.device)
    resuming = resuming_of(arguments)
    train_or_say_how_to_resume(lambda: pretrain_configured(arguments.expert, configs, resuming=resuming))
