"""The option that names the folder of local copies of datasets."""

from __future__ import annotations

import argparse


def add_data_dir_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--data-dir`, for sources that are given by name, such as `task:bash_command`."""
    parser.add_argument(
        "--data_dir",
        "--data-dir",
        metavar="DIR",
        help="folder of local copies of datasets by name, such as task:bash_command (default: the folder "
        "that HIGHNOON_DATA names)",
    )
