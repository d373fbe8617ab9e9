"""A folder of domains."""

from __future__ import annotations

import json
import pathlib
import warnings

import pytest

from highnoon.data import DataError, DomainFolder


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    for name in ("science/b.txt", "science/a.jsonl", "art/a.txt", "art/c.md", "art/.b.txt", "empty/x.csv"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({"text": name}) + "\n" if name.endswith("jsonl") else name)
    return tmp_path


def test_the_folder_of_a_file_is_its_domain(root: pathlib.Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = DomainFolder(root)
    assert source.domains == ["art", "science"]
    assert [(d.domain, d.text) for d in source.documents()] == [
        ("art", "art/a.txt"), ("science", "science/a.jsonl"), ("science", "science/b.txt"),
    ]


def test_domains_restrict_what_is_read(root: pathlib.Path) -> None:
    (root / "loose.txt").write_text("loose")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {d.domain for d in DomainFolder(root, domains=["science"]).documents()} == {"science"}
    with pytest.raises(DataError, match="no domain `scence`; did you mean `science`"):
        DomainFolder(root, domains=["scence"])


def test_files_in_the_root_are_the_default_domain_with_a_warning(root: pathlib.Path) -> None:
    (root / "loose.txt").write_text("loose")
    with pytest.warns(UserWarning, match="1 files directly in .* are read as the domain `default`"):
        source = DomainFolder(root)
    assert [d.text for d in source.documents() if d.domain == "default"] == ["loose"]


def test_the_fingerprint_knows_the_domain(root: pathlib.Path) -> None:
    before = DomainFolder(root).fingerprint()
    (root / "art").rename(root / "arts")
    assert DomainFolder(root).fingerprint() != before


def test_a_folder_without_data_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(DataError, match=r"holds no \*\.jsonl or \*\.txt"):
        DomainFolder(tmp_path)
    with pytest.raises(DataError, match="no folder at"):
        DomainFolder(tmp_path / "missing")
