"""Every example in a docstring runs, among the names of its own module, as `doctest` runs one."""

from __future__ import annotations

import ast
import importlib
import inspect
import pathlib
import re
from collections.abc import Iterator

import pytest

PACKAGE = pathlib.Path(__file__).parents[2] / "highnoon"
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def examples() -> Iterator[tuple[str, tuple[str, str]]]:
    """Yields the name of each example, with its module and its source."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(("highnoon", *path.relative_to(PACKAGE).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, DOCUMENTED) and (docstring := ast.get_docstring(node)):
                for number, source in enumerate(FENCE.findall(docstring)):
                    name = f"{path.relative_to(PACKAGE)}:{getattr(node, 'name', 'module')}"
                    yield f"{name}{f'#{number}' if number else ''}", (module, inspect.cleandoc(source))


EXAMPLES = dict(examples())


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module, source = EXAMPLES[name]
    names = vars(importlib.import_module(module.removesuffix(".__init__")))
    exec(compile(source, name, "exec"), names | {"__name__": "example"})


def test_examples_are_found():
    assert len(EXAMPLES) > 20
