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
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from highnoon.cli.data_reading import listed
from highnoon.cli.quiet_start import load_tensorflow
from highnoon.cli.run_file import RunFile, dotted_fields, field_names
from highnoon.config import PRESETS, ConfigError, resolve_keys
from highnoon.files.folder_lock import folder_lock

if TYPE_CHECKING:
    from highnoon.training import CurriculumScheduler, Trainer

SUMMARY = "train a model on your own text"
TAKES_FIELDS = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="YAML of the whole run, see docs/guides/training.md")
    parser.add_argument("--preset", metavar="NAME", help=f"model to start from: {', '.join(PRESETS)}")
    parser.add_argument(
        "--data", nargs="+", metavar="PATH",
        help="files, folders, globs or dataset names for a run of one stage, in place of --config's stages",
    )
    parser.add_argument(
        "--data_dir", "--data-dir", metavar="DIR", help="where datasets are looked for by name"
    )
    parser.add_argument(
        "--domains", nargs="+", metavar="NAME",
        help="sub-folders of --data to read, with spaces or commas between",
    )
    parser.add_argument(
        "--balance", type=_balance, metavar="equal|T",
        help="shares of domains: all the same, or softened by a temperature of 1 and more",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave out rows of --data that cannot be read, and count them"
    )
    parser.add_argument(
        "--documents", type=int, metavar="N",
        help="read the first N documents of --data, a prepared folder; one that is unfinished has N ready",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, metavar="N", help="passes over --data")
    length.add_argument("--steps", type=int, metavar="N", help="optimizer steps over --data")
    parser.add_argument("--output", metavar="DIR", help="folder for model/, checkpoints/ and logs/")
    parser.add_argument(
        "--resume", nargs="?", const=True, metavar="CHECKPOINT",
        help="go on from a checkpoint, or from the highest step in the output folder; with none there, begin",
    )
    parser.add_argument("--extend", action="store_true", help="let a resumed run become longer than it began")
    parser.add_argument(
        "--allow-plan-change", action="store_true", help="let a resumed run differ from what it began as"
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
    trainer = make_trainer(plan, arguments.allow_oversize)
    output = pathlib.Path(plan.output)
    checkpoint_dir = pathlib.Path(plan.checkpoint_dir or output / "checkpoints")
    if arguments.dry_run:
        report = trainer.preflight(plan.epochs_per_stage)
        print(trainer.plan(), report, sep="\n\n")
        if report.problems:
            raise ConfigError("; ".join(report.problems))
        return
    # From the first step until the model is saved: the run's folder is one run's alone.
    lock = folder_lock(output, "wait until it ends, or give another --output")
    with lock if trainer.replicas.is_chief else contextlib.nullcontext():
        _train(arguments, plan, trainer, output, checkpoint_dir)


def _train(
    arguments: argparse.Namespace, plan: RunFile, trainer: Trainer, output: pathlib.Path,
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
            callbacks=run_callbacks(plan, trainer.replicas.is_chief),
        )
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"{stop}, or the same command with --resume") from None
    if trainer.replicas.is_chief:
        trainer.save(output / "model")
        print_next_commands(output)


def run_callbacks(plan: RunFile, is_chief: bool) -> list[Any]:
    """Returns the callbacks that a run file asks for: alert rules on every worker, the rest on the chief."""
    from highnoon.callbacks import Alerts, SampleText, WandbLog

    callbacks: list[Any] = [Alerts(**plan.alerts)] if plan.alerts else []
    if is_chief:
        callbacks += [SampleText(plan.sample_prompts)] if plan.sample_prompts else []
        callbacks += [WandbLog(**plan.wandb)] if plan.wandb else []
    return callbacks


def read_run(arguments: argparse.Namespace) -> RunFile:
    """Returns the run that the file and the options describe together; options win.

    Raises:
        ConfigError: no data, data twice, or a field that does not exist.
    """
    plan = RunFile.load(arguments.config) if arguments.config else RunFile()
    if arguments.data and plan.stages:
        raise ConfigError("--data is for a run of one stage, and --config has stages; give one of them")
    if not arguments.data and not plan.stages and not plan.has_task_mix:
        raise ConfigError("no data to train on: give --data PATH, or --config with `stages`")
    if arguments.data:
        length = {"epochs": arguments.epochs, "steps": arguments.steps}
        stage = {"name": "train", "datasets": _datasets(arguments), "balance": arguments.balance, **length}
        plan = dataclasses.replace(plan, stages=[stage])
    else:
        _refuse_options_of_data(arguments)
    given = {name: getattr(arguments, name) for name in ("preset", "output") if getattr(arguments, name)}
    if arguments.data_dir:
        given["data_dir"] = arguments.data_dir
    return dataclasses.replace(plan, **given).with_fields(dotted_fields(arguments.leftover))


def _refuse_options_of_data(arguments: argparse.Namespace) -> None:
    options = ("epochs", "steps", "domains", "balance", "skip_bad", "documents")
    given = [f"--{name.replace('_', '-')}" for name in options if getattr(arguments, name)]
    if given:
        raise ConfigError(f"{given[0]} belongs to --data; the stages of a file say their own")


def _datasets(arguments: argparse.Namespace) -> list[Any]:
    """The names of --data, with the options of reading where any were given."""
    options: dict[str, Any] = {}
    if arguments.domains:
        options["domains"] = listed(",".join(arguments.domains))
    if arguments.skip_bad:
        options["skip_bad"] = True
    if arguments.documents is not None:
        options["documents"] = arguments.documents
    return [{"name": name, **options} if options else name for name in arguments.data]


def _balance(value: str) -> str | float:
    return value if value == "equal" else float(value)


def make_trainer(plan: RunFile, allow_oversize: bool = False) -> Trainer:
    """Builds the model and the trainer with all stages."""
    config = plan.config()
    load_tensorflow()
    import highnoon as hn
    from highnoon.training.distributed import resolve_strategy

    # Before anything else of TensorFlow: the workers of a cluster can be joined only then.
    strategy = resolve_strategy("auto")
    tokenizer = hn.load_tokenizer(plan.tokenizer) if plan.tokenizer else None
    stages = [_stage_arguments(stage) for stage in plan.stages]
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
        mix = plan.curriculum
        trainer.add_task_mix(
            plan.tasks, mix.get("stages", ()), mix.get("optional", ()), mix.get("max_iters")
        )
    return trainer


def _stage_arguments(stage: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(stage)
    overrides = values.pop("overrides", None) or {}
    if values.get("scheduler") is not None:
        values["scheduler"] = make_scheduler(values["scheduler"], values["name"])
    return values | overrides


def make_scheduler(values: Mapping[str, Any], stage: str) -> CurriculumScheduler:
    """Builds a scheduler from its arguments; `adaptive: true` takes the adaptive one.

    Raises:
        ConfigError: an argument that it does not have.
    """
    import highnoon as hn

    values = dict(values)
    kind = hn.AdaptiveCurriculumScheduler if values.pop("adaptive", False) else hn.CurriculumScheduler
    known = set(kind().get_config())
    return kind(**resolve_keys(values, known, f"the scheduler of stage `{stage}`"))


def print_next_commands(output: pathlib.Path) -> None:
    print(
        f"\nNext:\n"
        f'  highnoon generate --model {output / "model"} --prompt "Once"\n'
        f"  highnoon chat --model {output / 'model'}\n"
        f"  highnoon evaluate --model {output / 'model'} --data PATH\n"
        f"  tensorboard --logdir {output / 'logs'}"
    )
