"""The figures of the documents are those of the committed results of the benchmarks."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("doc_figures", ROOT / "scripts/doc_figures.py")
doc_figures = importlib.util.module_from_spec(_spec)
sys.modules["doc_figures"] = doc_figures
_spec.loader.exec_module(doc_figures)

BENCHMARKS = ROOT / "docs/benchmarks.md"


def all_figures() -> list:
    return [
        (path, figure)
        for path in doc_figures.documents()
        for figure in doc_figures.figures_of(path.read_text(encoding="utf-8"))
    ]


def test_every_figure_equals_its_result():
    wrong = [
        f"{path.relative_to(ROOT)}:{figure.line}: {figure.shown} should be {figure.expected()}"
        for path, figure in all_figures()
        if doc_figures.has_results(figure) and not figure.is_right()
    ]
    assert not wrong, "\n".join(["python scripts/doc_figures.py --write", *wrong])


def test_every_source_is_committed_or_awaited_and_none_is_both():
    committed = {path.stem for path in doc_figures.RESULTS.glob("*.json")}
    named = {figure.file for _, figure in all_figures()}
    assert named <= committed | set(doc_figures.AWAITED)
    assert not committed & set(doc_figures.AWAITED), "remove what is committed from AWAITED"
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert set(doc_figures.AWAITED) <= scripts and committed <= scripts


def test_every_number_in_a_table_of_committed_results_names_its_key():
    text = BENCHMARKS.read_text(encoding="utf-8")
    sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    unnamed = []
    for section in sections:
        files = doc_figures._FILE.findall(section)
        if not files or not all((doc_figures.RESULTS / f"{file}.json").is_file() for file in files):
            continue
        for line in section.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")][1:] if line.startswith("|") else []
            numbers = [cell for cell in cells if cell[:1].isdigit()]
            unnamed += [
                cell for cell in numbers if not re.match(r"[\d,.]+(?: to [\d,.]+)?(?: \w+)?<!--", cell)
            ]
    assert not unnamed


def test_committed_results_have_figures_and_an_environment():
    for path in doc_figures.RESULTS.glob("*.json"):
        report = json.loads(path.read_text(encoding="utf-8"))
        assert report["figures"] and report["environment"]["cores"], path


@pytest.mark.parametrize(
    ("value", "shown", "expected"),
    [
        (1396.6, "1,397", "1,397"),
        (1396.6, "1,400", "1,400"),
        (0.0199, "0.020", "0.020"),
        (12.34, "10", "10"),
        (21.16, "21.2", "21.2"),
        (3, "0", "3"),
    ],
)
def test_a_result_is_written_as_the_figure_is(value, shown, expected):
    assert doc_figures.as_shown(value, shown) == expected


def test_a_wrong_figure_is_found_and_corrected(tmp_path, monkeypatch):
    monkeypatch.setattr(doc_figures, "RESULTS", tmp_path)
    results = {"below": -5.2, "speed": 1234.4, "large": 17_040_000.0, "in range": 96.0}
    (tmp_path / "step.json").write_text(json.dumps({"figures": results}))
    text = (
        "<!-- figures: step -->\n| ours | 1,230<!--speed--> | 1,234<!--speed--> |\n"
        "17.0 million<!--large / 1e6-->, 5<!--below * -1-->, 90 to 99<!--in range-->, "
        "10 to 20<!--step:in range-->\n"
    )
    figures = doc_figures.figures_of(text)
    assert [(f.line, f.shown, f.is_right()) for f in figures] == [
        (2, "1,230", True),  # rounded to tens, as it is written
        (2, "1,234", True),
        (3, "17.0", True),
        (3, "5", True),
        (3, "99", True),
        (3, "20", False),
    ]
    results["speed"] = 1300.0
    (tmp_path / "step.json").write_text(json.dumps({"figures": results}))
    written = doc_figures.with_results(text)
    assert (
        "1,300<!--speed-->" in written and "90 to 99<!--in range-->" in written and " 100<!--step" in written
    )
    assert all(figure.is_right() for figure in doc_figures.figures_of(written))


def test_every_script_is_in_the_index():
    table = BENCHMARKS.read_text(encoding="utf-8").partition("## A dense")[0]
    scripts = sorted(path.name for path in (ROOT / "benchmarks").glob("*.py"))
    assert sorted(re.findall(r"^\| \[?`(\w+\.py)`", table, re.MULTILINE)) == scripts
