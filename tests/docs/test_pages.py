"""What the documentation shows, works: its Python runs, its recipes load, its commands parse."""

from __future__ import annotations

import pathlib
import re
import shlex

import pytest

from highnoon.cli.__main__ import parse
from highnoon.training.recipes import Recipe

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: pathlib.Path, language: str) -> list[tuple[int, str]]:
    """Returns the fenced blocks of a language, each with the number of the line before it."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start()) + 1, match.group(2))
        for match in FENCE.finditer(text)
        if match.group(1) == language
    ]


def pages_with(language: str) -> list[pathlib.Path]:
    return [page for page in PAGES if blocks(page, language)]


def name_of(page: pathlib.Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("python"), ids=name_of)
def test_python_blocks_of_a_page_run_one_after_another(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "page"}
    for line, source in blocks(page, "python"):
        exec(compile("\n" * line + source, name_of(page), "exec"), namespace)


@pytest.mark.parametrize("page", pages_with("yaml"), ids=name_of)
def test_recipes_of_a_page_are_accepted(page, tmp_path):
    for _, source in blocks(page, "yaml"):
        (tmp_path / "run.yaml").write_text(source)
        run = Recipe.load(tmp_path / "run.yaml")
        assert run.stages or run.has_task_mix
        run.config()


@pytest.mark.parametrize("page", pages_with("sh"), ids=name_of)
def test_highnoon_commands_of_a_page_parse(page):
    for _, source in blocks(page, "sh"):
        for line in source.splitlines():
            words = shlex.split(line, comments=True, posix=False)
            if words and words[0].endswith("highnoon"):
                parse([word.strip('"') for word in words[1:]])


def test_the_pages_show_python_recipes_and_commands():
    assert pages_with("python") and pages_with("yaml") and pages_with("sh")
