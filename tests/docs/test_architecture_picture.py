"""The architecture picture shows the import contract, and fails to once the contract changes."""

from __future__ import annotations

import importlib.util
import pathlib
import re
import xml.etree.ElementTree as ElementTree

import pytest

ROOT = pathlib.Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "scripts/draw_architecture.py")
draw_architecture = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(draw_architecture)


def test_the_committed_picture_is_what_the_script_draws():
    committed = draw_architecture.PICTURE.read_text(encoding="utf-8")
    assert committed == draw_architecture.draw(draw_architecture.layers()), "run scripts/draw_architecture.py"


def test_every_package_of_the_contract_is_drawn_in_its_row():
    layers = draw_architecture.layers()
    names = [
        (float(element.get("y")), element.text)
        for element in ElementTree.fromstring(draw_architecture.draw(layers)).iter()
        if element.get("class") == "name"
    ]
    assert [name for _, name in names] == [name for layer in layers for name in layer]
    assert len({y for y, _ in names}) == len(layers)


def test_another_contract_is_another_picture():
    layers = draw_architecture.layers()
    assert draw_architecture.draw(layers[:-1]) != draw_architecture.draw(layers)


def test_a_package_without_a_caption_is_an_error(monkeypatch):
    monkeypatch.delitem(draw_architecture.CAPTIONS, "training")
    with pytest.raises(ValueError, match=r"no caption for \['training'\]"):
        draw_architecture.layers()


def test_the_list_of_the_architecture_page_is_the_contract():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    listed = re.search(r"^```\n(cli\n.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
    assert listed.splitlines() == [" | ".join(layer) for layer in draw_architecture.layers()]


def test_captions_fit_into_their_boxes():
    widest_letter = 6.3  # of 12 px Helvetica, on average
    for layer in draw_architecture.layers():
        for name in layer:
            assert len(draw_architecture.CAPTIONS[name]) * widest_letter < 792 / len(layer) - 16, name
