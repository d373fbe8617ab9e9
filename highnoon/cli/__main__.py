"""`highnoon VERB ...`: parses, calls the verb, turns errors into exit codes.

0 success, 1 a mistake that the user can fix (one line on stderr), 2 usage, 130 Ctrl-C. Without a verb the
help is printed, with 2, as for any command that is not complete.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Sequence

import highnoon

try:
    from highnoon.cli import (
        align,
        chat,
        data,
        demo,
        doctor,
        evaluate,
        experts,
        export,
        generate,
        inspect,
        launch,
        models,
        monitor,
        train,
    )
    from highnoon.cli.parser import Parser, inner_verbs
    from highnoon.cli.path_values import expand_paths
    from highnoon.cli.process.error_line import abort_line, error_line, is_out_of_memory, memory_limit
    from highnoon.cli.process.next_command import next_command
    from highnoon.cli.process.stop_requests import StopRequests
    from highnoon.cli.process.supervised import can_supervise, run_supervised
    from highnoon.cli.recipe_words import keys_by_name, take_field_options, take_recipe_words
    from highnoon.cli.spelled_options import misspelled_option, spelled_options
    from highnoon.files.nearest_name import nearest_name
    from highnoon.files.printable import printable
    from highnoon.files.printable_stream import printable_output
except KeyboardInterrupt:  # in the third of a second before there is anything to stop
    raise SystemExit(130) from None

VERBS = {
    "demo": demo,
    "data": data,
    "train": train,
    "experts": experts,
    "align": align,
    "generate": generate,
    "chat": chat,
    "evaluate": evaluate,
    "export": export,
    "models": models,
    "monitor": monitor,
    "inspect": inspect,
    "launch": launch,
    "doctor": doctor,
}

EPILOG = """\
start here:
  highnoon doctor                     is everything installed?
  highnoon demo                       train a small model on text that Python ships, in minutes
  highnoon train --data my_texts/     train on your own text
  highnoon VERB --help                the options of a verb
"""

# What the package raises for a mistake that a user can fix; anything else is a defect and shows a traceback.
USER_ERRORS = (ValueError, OSError, ImportError, FloatingPointError)


class _Formatter(logging.Formatter):
    """Writes control characters in a log line as escapes."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="highnoon",
        description="Train, evaluate and talk to mixture-of-experts language models.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"highnoon {highnoon.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for name, verb in VERBS.items():
        verb_parser = verbs.add_parser(
            name,
            help=verb.SUMMARY,
            description=verb.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb_parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
        verb_parser.set_defaults(verb_parser=verb_parser, leftover=[])
        verb.configure(verb_parser)
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line; an option that the verb does not have is an error, unless it is dotted."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    recipe: str | None = None
    overrides: list[str] = []
    parser = build_parser()
    _help_with_incomplete(words, parser)
    if words and words[0] in VERBS:
        verb_parser = inner_verbs(parser)[words[0]]
        left = spelled_options(words[1:], verb_parser)
        if getattr(VERBS[words[0]], "TAKES_FIELDS", False):
            try:
                left, given = take_field_options(left, verb_parser)
            except argparse.ArgumentError as error:
                verb_parser.error(str(error))
            left, recipe, overrides = take_recipe_words(left, verb_parser)
            overrides += given
        elif found := misspelled_option(left, verb_parser):
            verb_parser.error(f"unrecognized arguments: {found[0]}; did you mean {found[1]}?")
        words = [words[0], *left]
    arguments, leftover = parser.parse_known_args(words)
    takes_fields = getattr(VERBS[arguments.verb], "TAKES_FIELDS", False)
    if recipe is not None and arguments.config is not None:
        arguments.verb_parser.error(f"the recipe is given twice: {recipe} and --config {arguments.config}")
    if takes_fields:
        arguments.config = recipe if recipe is not None else arguments.config
        arguments.overrides = overrides
    if leftover and not (takes_fields and "." in leftover[0]):
        known = [option for action in arguments.verb_parser._actions for option in action.option_strings]
        known += [f"--{name.replace('_', '-')}" for name in keys_by_name()] if takes_fields else []
        near = nearest_name(leftover[0].split("=")[0].replace("_", "-"), known)
        hint = f"; did you mean {near}?" if near is not None else ""
        arguments.verb_parser.error(f"unrecognized arguments: {' '.join(leftover)}{hint}")
    arguments.leftover = leftover
    expand_paths(arguments, arguments.verb_parser)
    return arguments


def _help_with_incomplete(words: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Prints the help and exits where the words end before a verb: `highnoon`, `highnoon data`."""
    for word in words:
        if word not in inner_verbs(parser):
            return
        parser = inner_verbs(parser)[word]
    if inner_verbs(parser):
        parser.print_help()
        parser.exit(2)


def _quieten() -> None:
    """Sets log levels before TensorFlow loads: `HIGHNOON_LOG_LEVEL`, by default only warnings."""
    level = os.environ.get("HIGHNOON_LOG_LEVEL", "WARNING").upper()
    if level not in logging.getLevelNamesMapping():
        names = ", ".join(logging.getLevelNamesMapping())
        raise ValueError(f"HIGHNOON_LOG_LEVEL must be one of {names}; received {level!r}")
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(name)s %(levelname)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("highnoon").setLevel(level)
    warnings.formatwarning = lambda message, *origin: f"warning: {printable(str(message))}\n"
    if level != "DEBUG":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code.

    Under a memory limit a command of the shell runs in a process of its own: native code that gets no memory
    ends its process, so that no Python code in it can report why.
    """
    if argv is None and can_supervise() and memory_limit() is not None:
        return run_supervised(lambda: _main(argv), abort_line)
    return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    with printable_output():
        arguments = parse(argv)
        answers = getattr(VERBS[arguments.verb], "ANSWERS_SIGNALS", False)
        stops = contextlib.nullcontext() if answers else StopRequests(ends_process=argv is None)
        try:
            with stops:
                return _run(arguments)
        except KeyboardInterrupt as stop:
            print(printable(str(stop)) or "stopped", file=sys.stderr)
            return 130


def _run(arguments: argparse.Namespace) -> int:
    try:
        _quieten()
        code = VERBS[arguments.verb].run(arguments) or 0
        sys.stdout.flush()
        return code
    except argparse.ArgumentError as error:
        arguments.verb_parser.error(str(error))  # exits with 2
        raise
    except BrokenPipeError as error:
        return _answer_broken_pipe(error, arguments)
    except Exception as error:
        if arguments.debug or not (isinstance(error, USER_ERRORS) or is_out_of_memory(error)):
            raise
        line = error_line(error, arguments)
        print(f"error: {line}{next_command(error, line, _named_parser(arguments))}", file=sys.stderr)
        return 1


def _named_parser(arguments: argparse.Namespace) -> argparse.ArgumentParser:
    """The parser of the verb, or of the verb inside it."""
    parser: argparse.ArgumentParser = arguments.verb_parser
    return inner_verbs(parser).get(getattr(arguments, "action", ""), parser)


def _answer_broken_pipe(error: BrokenPipeError, arguments: argparse.Namespace) -> int:
    """Ends silently when nobody reads the output any more, as in `highnoon models | head -1`."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            # The interpreter flushes once more when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    print("error:", error_line(error, arguments), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
