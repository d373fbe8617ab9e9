"""`highnoon VERB ...`: parses, calls the verb, turns errors into exit codes.

0 fine, 1 a mistake that the user can mend (one line on stderr), 2 usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import sys
import warnings
from collections.abc import Sequence

import highnoon
from highnoon.cli import (
    chat,
    data,
    demo,
    doctor,
    evaluate,
    export,
    generate,
    inspect,
    launch,
    models,
    monitor,
    train,
)

VERBS = {
    "demo": demo,
    "data": data,
    "train": train,
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
  highnoon doctor                     is everything in place?
  highnoon demo                       train a small model on text that Python ships, in minutes
  highnoon train --data my_texts/     train on your own text
  highnoon VERB --help                what a verb takes
"""

# What the package raises for a mistake that a user can mend; anything else is a defect and shows where.
USER_ERRORS = (ValueError, OSError, ImportError, FloatingPointError)


class _Parser(argparse.ArgumentParser):
    """Takes no abbreviated options: a misspelt one is an error that names the nearest."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs, allow_abbrev=False)  # type: ignore[arg-type]


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="highnoon",
        description="Train, evaluate and talk to mixture-of-experts language models.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"highnoon {highnoon.__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser)
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
    """Parses; what the verb's parser does not know is a usage error, unless it is a dotted field."""
    arguments, leftover = build_parser().parse_known_args(argv)
    takes_fields = getattr(VERBS[arguments.verb], "TAKES_FIELDS", False)
    if leftover and not (takes_fields and "." in leftover[0]):
        known = [option for action in arguments.verb_parser._actions for option in action.option_strings]
        near = difflib.get_close_matches(leftover[0].split("=")[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        arguments.verb_parser.error(f"unrecognized arguments: {' '.join(leftover)}{hint}")
    arguments.leftover = leftover
    return arguments


def _quieten() -> None:
    """Sets log levels before TensorFlow loads: `HIGHNOON_LOG_LEVEL`, by default only warnings."""
    level = os.environ.get("HIGHNOON_LOG_LEVEL", "WARNING").upper()
    if level not in logging.getLevelNamesMapping():
        names = ", ".join(logging.getLevelNamesMapping())
        raise ValueError(f"HIGHNOON_LOG_LEVEL must be one of {names}; received {level!r}")
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s: %(message)s")
    logging.getLogger("highnoon").setLevel(level)
    warnings.formatwarning = lambda message, *origin: f"warning: {message}\n"
    if level != "DEBUG":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code."""
    arguments = parse(argv)
    try:
        _quieten()
        return VERBS[arguments.verb].run(arguments) or 0
    except argparse.ArgumentError as error:
        arguments.verb_parser.error(str(error))  # exits with 2
        raise
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return 130
    except USER_ERRORS as error:
        if arguments.debug:
            raise
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
