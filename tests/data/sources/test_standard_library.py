"""The embedded corpus."""

from __future__ import annotations

import argparse
import pathlib

import pytest

from highnoon.data import DataError, StandardLibrary
from highnoon.data.sources.standard_library import _docstrings


def test_code_is_the_source_of_the_librarys_own_modules() -> None:
    documents = {document.id: document for document in StandardLibrary(("code",)).documents()}
    assert documents["argparse"].text == pathlib.Path(argparse.__file__).read_text("utf-8")
    assert {"json", "json.decoder", "asyncio.events"} <= set(documents)
    assert {document.domain for document in documents.values()} == {"code"}
    skipped = ("test.", "idlelib", "lib2to3", "encodings", "pydoc_data", "site-packages", "_sysconfigdata")
    assert not [name for name in documents if name.startswith(skipped) or ".test." in name]


@pytest.mark.slow
def test_docs_are_docstrings_and_help_topics() -> None:
    documents = {
        (document.source, document.id): document.text for document in StandardLibrary(("docs",)).documents()
    }
    module = documents["stdlib", "argparse"]
    assert module.startswith("argparse\n\nCommand-line parsing library")
    assert "argparse.HelpFormatter\n\nFormatter for generating usage messages" in module
    assert "lambda" in documents["pydoc", "lambda"]


def test_docstrings_stand_under_their_dotted_names() -> None:
    source = '"""Module."""\nclass A:\n  """Class."""\n  def f(self):\n    """Method\n\n    more."""\n'
    assert _docstrings("m", source) == "m\n\nModule.\n\nm.A\n\nClass.\n\nm.A.f\n\nMethod\n\nmore.\n"
    assert _docstrings("m", "x = 1") == ""


def test_order_and_fingerprint_are_fixed() -> None:
    code = StandardLibrary(("code",))
    ids = [document.id for document in code.documents()]
    assert ids == [document.id for document in StandardLibrary(("code",)).documents()]
    assert code.fingerprint() == StandardLibrary(("code",)).fingerprint()
    assert code.fingerprint() != StandardLibrary(("docs",)).fingerprint()


def test_both_domains_are_each_one_after_the_other() -> None:
    domains = [document.domain for document in StandardLibrary().documents()]
    assert domains == sorted(domains, reverse=True)
    assert StandardLibrary().name == "stdlib"
    assert StandardLibrary(("docs",)).name == "stdlib:docs"


def test_an_unknown_domain_is_an_error() -> None:
    with pytest.raises(DataError, match="has the domains docs, code; received 'test'"):
        StandardLibrary(("test",))


def test_a_python_without_sources_says_so(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(DataError, match="no source files of its standard library at"):
        StandardLibrary()
