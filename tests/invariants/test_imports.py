"""What importing the package may load: it must stay cheap until a name is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "tensorflow",
    "keras",
    "keras_hub",
    "matplotlib",
    "jax",
    "tokenizers",
    "tensorflow_datasets",
    "datasets",
}


def modules_after(statement: str) -> set[str]:
    """Returns the top-level modules that a fresh interpreter holds after a statement."""
    report = "import json, sys\nprint(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    code = f"{statement}\n{report}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_highnoon_loads_nothing_heavy():
    assert modules_after("import highnoon") & HEAVY == set()


def test_configuration_loads_nothing_heavy():
    assert modules_after("import highnoon as hn; hn.get_preset_config('highnoon-nano')") & HEAVY == set()


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["generate"], ["train"]])
def test_command_line_answers_without_loading_anything_heavy(words):
    statement = f"from highnoon.cli.__main__ import main\ntry: main({words!r})\nexcept SystemExit: pass"
    assert modules_after(statement) & HEAVY == set()


@pytest.mark.slow
def test_every_public_name_resolves():
    statement = "import highnoon\nfor name in highnoon.__all__: getattr(highnoon, name)"
    assert "highnoon" in modules_after(statement)


def test_a_mistake_in_a_recipe_is_answered_without_loading_anything_heavy(tmp_path):
    (tmp_path / "run.yaml").write_text("stages: [{name: a, datasets: a.txt, steps: 5}]\ntraining: {lr: -1}\n")
    words = ["train", str(tmp_path / "run.yaml"), "model.dropout=0.1"]
    statement = f"from highnoon.cli.__main__ import main\nassert main({words!r}) == 1"
    assert modules_after(statement) & HEAVY == set()


def test_an_unknown_name_is_an_attribute_error():
    import highnoon

    with pytest.raises(AttributeError, match="no attribute 'Trainr'"):
        _ = highnoon.Trainr


def test_subpackages_are_attributes_and_only_public_names_are_listed():
    statement = (
        "import highnoon as hn\n"
        "assert hn.config.Config is hn.Config and hn.monitoring.parse_rule\n"
        "assert sorted(dir(hn)) == sorted(hn.__all__), dir(hn)"
    )
    assert modules_after(statement) & HEAVY == set()


@pytest.mark.slow
def test_every_subpackage_resolves():
    names = "callbacks compat data evaluation inference layers models testing tokenization training".split()
    statement = "import highnoon as hn\n" + "\n".join(
        f"assert hn.{name}.__name__ == 'highnoon.{name}'" for name in names
    )
    assert "highnoon" in modules_after(statement)
