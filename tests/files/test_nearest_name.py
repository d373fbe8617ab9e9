"""The suggestion that an error about an unknown name ends with."""

import pathlib
import re

import pytest

import highnoon
from highnoon.files.folder_content import folder_content
from highnoon.files.nearest_name import nearest_name, nearest_names, suggestion, unknown_name

KNOWN = ["learning_rate", "batch_size", "warmup_steps"]


def test_the_most_similar_name_is_suggested():
    assert nearest_name("learning_rat", KNOWN) == "learning_rate"
    assert nearest_names("step", ["steps", "stop", "zebra"]) == ["steps", "stop"]


@pytest.mark.parametrize("name", ["zzz", "", 7, None, ["batch_size"], "batch_size" * 1000])
def test_nothing_is_near_a_value_that_is_no_misspelt_name(name):
    assert nearest_name(name, KNOWN) is None


def test_an_error_names_the_nearest_or_else_all():
    assert unknown_name("field", "batch_sise", KNOWN) == (
        "there is no field `batch_sise`; did you mean `batch_size`?"
    )
    assert unknown_name("field", "zzz", KNOWN) == f"there is no field `zzz`; known: {', '.join(KNOWN)}"
    assert suggestion(3, [], otherwise="domains there") == "domains there: none"


def test_an_error_quotes_a_hostile_name_on_one_printable_line():
    message = unknown_name("field", "a\n\x1b[31m", KNOWN)
    assert message.isprintable() and "\n" not in message


def test_no_other_file_has_a_suggestion_of_its_own():
    root = pathlib.Path(highnoon.__file__).parent
    users = [path for path in root.rglob("*.py") if re.search(r"\bdifflib\b", path.read_text())]
    assert users == [root / "files" / "nearest_name.py"]


def test_a_misspelled_role_of_a_run_is_answered_with_the_role(tmp_path):
    (tmp_path / "run" / "checkpoints" / "step_00000010").mkdir(parents=True)
    for folder in (tmp_path / "run", tmp_path / "run" / "checkpoints"):
        content = folder_content(folder / "lates")
        assert content == f"it does not exist; did you mean `{folder / 'latest'}`?"
