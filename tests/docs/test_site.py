"""The site shows every page, links every page, and quotes errors that exist."""

from __future__ import annotations

import pathlib
import re

import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
# Sections of docstrings that mkdocstrings renders.
SECTIONS = ("Args", "Attributes", "Inputs", "Raises", "Returns", "Yields")


def pages_of_navigation() -> list[str]:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")

    def walk(entry):
        for value in entry.values() if isinstance(entry, dict) else entry:
            yield from [value] if isinstance(value, str) else walk(value)

    return list(walk(yaml.safe_load(text)["nav"]))


def test_every_page_is_in_the_navigation_once():
    assert sorted(pages_of_navigation()) == PAGES


def test_the_first_page_links_every_guide_and_reference_page():
    links = set(re.findall(r"\]\(([\w/.-]+\.md)", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert sorted(links) == [page for page in PAGES if page != "index.md"]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_links_of_pages_outside_the_site_lead_to_files(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", text)
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert links and not missing


def test_pictures_are_small():
    pictures = [path for path in (DOCS / "images").iterdir() if path.is_file()]
    assert pictures and max(path.stat().st_size for path in pictures) < 60_000


def quoted_messages() -> list[str]:
    """What the first cells of the tables of Troubleshooting quote of errors."""
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    return [quoted for cell in cells for quoted in re.findall(r"`([^`]*\.\.\.[^`]*)`", cell)]


def test_errors_that_troubleshooting_quotes_are_in_the_source():
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "highnoon").rglob("*.py"))
    source = re.sub(r"\"\s*\n\s*f?\"", "", source)  # adjacent texts are one
    parts = [part.strip(" ,;:.") for quoted in quoted_messages() for part in quoted.split("...")]
    checked = [part for part in parts if len(part) > 6]
    assert len(checked) > 15
    assert [part for part in checked if part not in source] == []


def test_extras_of_getting_started_are_those_of_the_package():
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    text = (DOCS / "getting-started.md").read_text(encoding="utf-8")
    table = text[text.index("| extra |") : text.index("## The demo")]
    listed = {
        name
        for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall("`(.+?)`", cell)
    }
    assert listed == set(setup["options.extras_require"])


def one_line_sections(text: str) -> list[str]:
    """Sections that mkdocstrings prints as plain text: the text must be on the next line, indented."""
    section = re.compile(rf"\s+(?:{'|'.join(SECTIONS)}): +\S")
    return [line.strip() for line in text.splitlines() if section.match(line)]


def test_sections_of_docstrings_are_rendered():
    found = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "highnoon").rglob("*.py")
        if (lines := one_line_sections(path.read_text(encoding="utf-8")))
    }
    assert not found
    assert one_line_sections("    Returns: (b, t, d).") == ["Returns: (b, t, d)."]
    assert one_line_sections("    Returns:\n        (b, t, d).") == []
