"""The options that `highnoon experts pretrain` and `train-router` have alike."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from highnoon.compat.expert_configs import ExpertConfigs, section_classes
from highnoon.compat.expert_options import add_config_options, given_fields
from highnoon.config import ConfigError

if TYPE_CHECKING:
    from highnoon.experts.runs import Resuming

_PATHS = ("data_dir", "checkpoint_dir")


def add_run_options(
    parser: argparse.ArgumentParser, sections: Sequence[str], skipped: Sequence[str] = ()
) -> None:
    """Adds data, folder, device, resuming, and an option for every field of some sections.

    Args:
        parser: Of the action.
        sections: Names of sections, see `SECTIONS_OF`.
        skipped: Fields that the action does not read.
    """
    parser.add_argument("--data_dir", metavar="DIR", help="folder of domains, or one file (default: data)")
    parser.add_argument(
        "--checkpoint_dir", metavar="DIR", help="folder of the runs of all experts (default: checkpoints)"
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file of sections; options win")
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:0 (default: auto)"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        metavar="CHECKPOINT",
        help="resume from a checkpoint; without one from the highest step of this run, if any",
    )
    parser.add_argument("--extend", action="store_true", help="allow a resumed run to be longer than it was")
    parser.add_argument(
        "--allow-plan-change", action="store_true", help="allow a resumed run to differ in any way"
    )
    parser.add_argument(
        "--allow-partial",
        action="store_true",
        help="begin with the weights of a checkpoint that fit, at least 90 percent of the parameters",
    )
    add_config_options(parser, sections, (*_PATHS, *skipped))


def configs_of(arguments: argparse.Namespace, sections: Sequence[str], own: Sequence[str]) -> ExpertConfigs:
    """Returns the configurations of the file and of the options.

    Args:
        arguments: What the parser read.
        sections: Those of the parser.
        own: Those that the training reads.

    Raises:
        ConfigError: a field that the training does not read, or a value out of its range.
    """
    configs = ExpertConfigs() if arguments.config is None else ExpertConfigs.from_yaml(arguments.config)
    given, kinds = given_fields(arguments, sections), section_classes()
    known = {field.name for section in own for field in dataclasses.fields(kinds[section])}
    if wrong := [name for name in given if name not in known]:
        homes = [name for name in sections if wrong[0] in {f.name for f in dataclasses.fields(kinds[name])}]
        raise ConfigError(
            f"--{wrong[0]} belongs to {', '.join(homes)}, which this run does not read; it reads "
            f"{', '.join(own)}"
        )
    return configs.updated(own, given)


def resuming_of(arguments: argparse.Namespace) -> Resuming:
    """Returns how the run begins."""
    from highnoon.experts.runs import Resuming

    names = ("resume", "extend", "allow_plan_change", "allow_partial")
    return Resuming(**{name: getattr(arguments, name) for name in names})


def train_or_say_how_to_resume(train: Any) -> dict[str, Any]:
    """Calls what trains; Ctrl-C says how to continue on the command line.

    Raises:
        KeyboardInterrupt: Ctrl-C, after saving.
    """
    try:
        return dict(train())
    except KeyboardInterrupt as stop:
        # Without the continuation for Python.
        saved = str(stop).partition("; continue with train(")[0] or "stopped without saving"
        raise KeyboardInterrupt(f"{saved}; to continue: the same command with --resume") from None
