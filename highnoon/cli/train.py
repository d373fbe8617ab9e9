"""Trains a language model: on your files in one stage, or through the stages of a YAML file.

  highnoon train --data my_texts/ --preset highnoon-tiny --epochs 3
  highnoon train --config run.yaml --training.learning_rate 3e-4
  highnoon train --config run.yaml --resume

Any field of the model or of the training can be set by its dotted name. Ctrl-C saves the run; `--resume`
takes it up where it stopped, at the very same step. Under `highnoon launch`, or with several GPUs, all
devices train together.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from highnoon.cli.data_reading import listed
from highnoon.cli.quiet_start import load_tensorflow
from highnoon.cli.run_checks import check_run, run_callbacks, task_mix_arguments
from highnoon.cli.run_file import RunFile, dotted_fields, field_names
from highnoon.cli.run_file_checks import check_values
from highnoon.config import PRESETS, ConfigError, require_path
from highnoon.files.folder_lock import folder_lock

if TYPE_CHECKING:
    from highnoon.training import Trainer

SUMMARY = "train a model on your own text"
TAKES_FIELDS = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="YAML of the whole run, see docs/guides/training.md")
    parser.add_argument("--preset", metavar="NAME", help=f"model to start from: {', '.join(PRESETS)}")
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="PATH",
        help="files, folders, globs or dataset names for a run of one stage, in place of --config's stages",
    )
    parser.add_argument(
        "--data_dir", "--data-dir", metavar="DIR", help="where datasets are looked for by name"
    )
    parser.add_argument(
        "--domains",
        nargs="+",
        metavar="NAME",
        help="sub-folders of --data to read, with spaces or commas between",
    )
    parser.add_argument(
        "--balance",
        type=_balance,
        metavar="equal|T",
        help="shares of domains: all the same, or softened by a temperature of 1 and more",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out rows of --data that cannot be read, and count them"
    )
    parser.add_argument(
        "--documents",
        type=int,
        metavar="N",
        help="read the first N documents of --data, a prepared folder; one that is unfinished has N ready",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, metavar="N", help="passes over --data")
    length.add_argument("--steps", type=int, metavar="N", help="optimizer steps over --data")
    parser.add_argument("--output", metavar="DIR", help="folder for model/, checkpoints/ and logs/")
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        metavar="CHECKPOINT",
        help="resume from a checkpoint, or from the highest step in the output folder; with none, start",
    )
    parser.add_argument("--extend", action="store_true", help="let a resumed run become longer than it began")
    parser.add_argument(
        "--allow-plan-change", action="store_true", help="let a resumed run differ from what it began as"
    )
    parser.add_argument(
        "--restore-best",
        action="store_true",
        help="end with the weights of the lowest held-out loss, not with those of the last step",
    )
    parser.add_argument("--dry-run", action="store_true", help="check memory, data and plan, and stop there")
    parser.add_argument(
        "--allow-oversize", action="store_true", help="try even what exceeds the memory of this machine"
    )
    for section in ("model", "training"):
        parser.add_argument_group(
            f"{section} fields", f"--{section}.FIELD VALUE, of: {', '.join(sorted(field_names(section)))}"
        )


def run(arguments: argparse.Namespace) -> None:
    plan = read_run(arguments)
    try:
        plan.config()
        load_tensorflow()
        stages = check_run(plan)
    except ValueError as error:
        raise ConfigError(f"{arguments.config}: {error}" if arguments.config else str(error)) from None
    trainer = make_trainer(plan, stages, arguments.allow_oversize)
    output = pathlib.Path(plan.output)
    checkpoint_dir = plan.checkpoint_folder
    if arguments.dry_run:
        _dry_run(plan, trainer, arguments, checkpoint_dir)
        return
    # From the first step until the model is saved: the run's folder is one run's alone.
    lock = folder_lock(output, "wait until it ends, or give another --output")
    with lock if trainer.replicas.is_chief else contextlib.nullcontext():
        _train(arguments, plan, trainer, output, checkpoint_dir)


def _train(
    arguments: argparse.Namespace,
    plan: RunFile,
    trainer: Trainer,
    output: pathlib.Path,
    checkpoint_dir: pathlib.Path,
) -> None:
    try:
        trainer.train(
            epochs_per_stage=plan.epochs_per_stage,
            checkpoint_dir=checkpoint_dir,
            checkpoint_interval=plan.checkpoint_interval,
            log_interval=plan.log_interval,
            eval_interval=plan.eval_interval,
            resume_from=arguments.resume,
            log_dir=output / "logs",
            keep_checkpoints=plan.keep_checkpoints,
            keep_every=plan.keep_every,
            extend=arguments.extend,
            allow_plan_change=arguments.allow_plan_change,
            restore_best=plan.restore_best,
            callbacks=run_callbacks(plan, trainer.replicas.is_chief),
        )
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"{stop}, or the same command with --resume") from None
    if trainer.replicas.is_chief:
        trainer.save(output / "model")
        print_next_commands(output)


def _dry_run(
    plan: RunFile, trainer: Trainer, arguments: argparse.Namespace, checkpoint_dir: pathlib.Path
) -> None:
    """Prints what a run would do, after every check that it would make.

    Raises:
        ConfigError: the run could not do what it is meant to.
        CheckpointError: it could not be resumed.
    """
    report = trainer.preflight(
        plan.epochs_per_stage,
        resume_from=arguments.resume,
        checkpoint_dir=checkpoint_dir,
        extend=arguments.extend,
        allow_plan_change=arguments.allow_plan_change,
    )
    print(trainer.plan(), report, sep="\n\n")
    problems = list(report.problems)
    if plan.sample_prompts:
        from highnoon.callbacks import SampleText

        SampleText(plan.sample_prompts).require_model(trainer.model)
    if problems:
        raise ConfigError("; ".join(problems))


def read_run(arguments: argparse.Namespace) -> RunFile:
    """Returns the run that the file and the options describe together; options win.

    Raises:
        ConfigError: no data, data twice, or a field that does not exist.
    """
    if arguments.config is not None:
        require_path("--config", arguments.config)
    plan = RunFile() if arguments.config is None else RunFile.load(arguments.config)
    if arguments.data is not None and plan.stages:
        raise ConfigError("--data is for a run of one stage, and --config has stages; give one of them")
    if arguments.data is None and not plan.stages and not plan.has_task_mix:
        raise ConfigError("no data to train on: give --data PATH, or --config with `stages`")
    if arguments.data is not None:
        length = {"epochs": arguments.epochs, "steps": arguments.steps}
        stage = {"name": "train", "datasets": _datasets(arguments), "balance": arguments.balance, **length}
        plan = dataclasses.replace(plan, stages=[stage])
    else:
        _refuse_options_of_data(arguments)
    _refuse_options_of_resume(arguments)
    given = {
        name: getattr(arguments, name)
        for name in ("preset", "output", "data_dir")
        if getattr(arguments, name) is not None
    }
    if arguments.restore_best:
        given["restore_best"] = True
    check_values(given)
    return dataclasses.replace(plan, **given).with_fields(dotted_fields(arguments.leftover))


def _refuse_options_of_data(arguments: argparse.Namespace) -> None:
    options = ("epochs", "steps", "domains", "balance", "skip_bad", "documents")
    values = {name: getattr(arguments, name) for name in options}
    given = [
        f"--{name.replace('_', '-')}"
        for name, value in values.items()
        if value is not None and value is not False
    ]
    if given:
        raise ConfigError(f"{given[0]} belongs to --data; the stages of a file say their own")


def _refuse_options_of_resume(arguments: argparse.Namespace) -> None:
    if arguments.resume is None:
        for name in ("extend", "allow_plan_change"):
            if getattr(arguments, name):
                raise ConfigError(f"--{name.replace('_', '-')} is for a resumed run; give --resume with it")


def _datasets(arguments: argparse.Namespace) -> list[Any]:
    """The names of --data, with the options of reading where any were given."""
    options: dict[str, Any] = {}
    if arguments.domains is not None:
        options["domains"] = listed(",".join(arguments.domains))
    if arguments.skip_bad:
        options["skip_bad"] = True
    if arguments.documents is not None:
        options["documents"] = arguments.documents
    return [{"name": name, **options} if options else name for name in arguments.data]


def _balance(value: str) -> str | float:
    return value if value == "equal" else float(value)


def make_trainer(plan: RunFile, stages: Sequence[Mapping[str, Any]], allow_oversize: bool = False) -> Trainer:
    """Builds the model and the trainer with all stages.

    Args:
        plan: The run.
        stages: Arguments of `add_curriculum_stage`, from `check_run`.
        allow_oversize: Whether to try what exceeds the memory of this machine.
    """
    config = plan.config()
    load_tensorflow()
    import highnoon as hn
    from highnoon.training.distributed import resolve_strategy

    # Before anything else of TensorFlow: the workers of a cluster can be joined only then.
    strategy = resolve_strategy("auto")
    tokenizer = None if plan.tokenizer is None else hn.load_tokenizer(plan.tokenizer)
    with strategy.scope():
        model = hn.create_model(config, allow_oversize=allow_oversize)
    trainer = hn.Trainer(
        model,
        config=config.training,
        strategy=strategy,
        tokenizer=tokenizer,
        data_dir=plan.data_dir,
        allow_oversize=allow_oversize,
    )
    for stage in stages:
        trainer.add_curriculum_stage(**stage)
    if plan.has_task_mix:
        trainer.add_task_mix(**task_mix_arguments(plan))
    return trainer


def print_next_commands(output: pathlib.Path) -> None:
    print(
        f"\nNext:\n"
        f'  highnoon generate --model {output / "model"} --prompt "Once"\n'
        f"  highnoon chat --model {output / 'model'}\n"
        f"  highnoon evaluate --model {output / 'model'} --data PATH\n"
        f"  tensorboard --logdir {output / 'logs'}"
    )
