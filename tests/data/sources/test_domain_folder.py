"""A folder of domains."""

from __future__ import annotations

import json
import pathlib
import re
import warnings

import pytest

from highnoon.data import DataError, DomainFolder
from highnoon.data.records.read_options import ReadOptions
from highnoon.files.folder_lock import folder_lock


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    for name in ("science/b.txt", "science/a.jsonl", "art/a.txt", "art/c.md", "art/.b.txt"):
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
        ("art", "art/a.txt"),
        ("art", "art/c.md"),
        ("science", "science/a.jsonl"),
        ("science", "science/b.txt"),
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


def test_the_default_domain_can_be_chosen_by_its_name(root: pathlib.Path) -> None:
    (root / "loose.txt").write_text("loose")
    (root / "default").mkdir()
    (root / "default" / "own.txt").write_text("own")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = DomainFolder(root, domains=["default"])
    assert [(d.domain, d.text) for d in source.documents()] == [("default", "loose"), ("default", "own")]
    (root / "loose.txt").unlink()
    assert [d.text for d in DomainFolder(root, domains=["default"]).documents()] == ["own"]
    (root / "default" / "own.txt").rename(root / "art" / "own.txt")
    (root / "default").rmdir()
    with pytest.raises(DataError, match="has no domain `default`; domains there: art, science"):
        DomainFolder(root, domains=["default"])


def test_an_empty_domain_that_is_chosen_is_told_from_one_that_is_misspelled(root: pathlib.Path) -> None:
    (root / "empty").mkdir()
    (root / "pdfs").mkdir()
    (root / "pdfs" / "a.pdf").write_text("x")
    for name, words in (("empty", "`empty` of"), ("pdfs", r"`pdfs` \(1 \*.pdf\) of")):
        with pytest.raises(DataError, match=f"the domain {words} .* has no data; fill it or leave it out"):
            DomainFolder(root, domains=[name, "art"])


def test_a_folder_of_files_alone_needs_no_domains(tmp_path: pathlib.Path) -> None:
    (tmp_path / "loose.txt").write_text("loose")
    (tmp_path / "empty").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [d.domain for d in DomainFolder(tmp_path).documents()] == ["default"]


def test_the_fingerprint_knows_the_domain(root: pathlib.Path) -> None:
    before = DomainFolder(root).fingerprint()
    (root / "art").rename(root / "arts")
    assert DomainFolder(root).fingerprint() != before


def test_a_folder_without_data_is_an_error(tmp_path: pathlib.Path) -> None:
    with pytest.raises(DataError, match=r"have no \*\.txt, \*\.jsonl, "):
        DomainFolder(tmp_path)
    with pytest.raises(DataError, match="no folder at"):
        DomainFolder(tmp_path / "missing")


def test_every_format_of_records_is_read(tmp_path: pathlib.Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.csv").write_text("text\none\n")
    (tmp_path / "d" / "b.tsv").write_text("id\ttext\n1\ttwo\n")
    assert [(d.text, d.domain) for d in DomainFolder(tmp_path).documents()] == [("one", "d"), ("two", "d")]


def test_a_domain_without_files_is_an_error_or_counted(root: pathlib.Path) -> None:
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="subfolders without data: empty; fill or remove"):
        DomainFolder(root)
    source = DomainFolder(root, options=ReadOptions(skip_bad=True))
    list(source.documents())
    assert source.bad_records.report()["reasons"]["domain without files"] == {
        "count": 1,
        "places": [str(root / "empty")],
    }


def test_the_parts_are_a_source_for_each_domain(root: pathlib.Path) -> None:
    parts = DomainFolder(root, domains=["science", "art"]).parts
    assert [part.name for part in parts] == ["art", "science"]
    assert [d.text for d in parts[0].documents()] == ["art/a.txt", "art/c.md"]


def test_bad_records_of_all_domains_are_counted_together(root: pathlib.Path) -> None:
    for domain in ("science", "art"):
        (root / domain / "bad.jsonl").write_text("{\n")
    source = DomainFolder(root, domains=["science", "art"], options=ReadOptions(skip_bad=True))
    assert len(list(source.documents())) == 4
    assert source.bad_records.report()["reasons"]["not JSON"]["count"] == 2


def test_what_a_folder_leaves_out_is_told_once_and_counted(root: pathlib.Path) -> None:
    for name in (
        "art/a.pdf",
        "art/b.PDF",
        "art/deep/c.html",
        "science/d.ipynb",
        "science/noend",
        "e.pdf",
        "art/.git/x",
    ):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    (root / "art" / "gone").symlink_to(root / "nowhere")
    told = (
        "skipped 3 *.pdf, 1 *.html, 1 *.ipynb, 1 broken link or special file, "
        "1 without a known suffix; convert"
    )
    with pytest.warns(UserWarning) as caught:
        source = DomainFolder(root)
    assert [told in str(warning.message) for warning in caught] == [True]
    assert len(list(source.documents())) == 4
    reasons = source.bad_records.report()["reasons"]
    assert reasons["not read: *.pdf"] == {
        "count": 3,
        "places": [str(root / name) for name in ("e.pdf", "art/a.pdf", "art/b.PDF")],
    }
    with pytest.warns(UserWarning, match="skipped 1 .*ipynb, 1 without a known suffix"):
        DomainFolder(root, domains=["science"])


def test_folders_within_a_domain_are_read(root: pathlib.Path) -> None:
    for name in ("art/b/x.rst", "art/b/deep/y.json", "art/d.markdown"):
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text('[{"text": "record"}]' if name.endswith("json") else name)
    source = DomainFolder(root, domains=["art"])
    assert [document.text for document in source.documents()] == [
        "art/a.txt",
        "record",
        "art/b/x.rst",
        "art/c.md",
        "art/d.markdown",
    ]


def test_links_that_lead_back_are_left_out(root: pathlib.Path) -> None:
    (root / "up").symlink_to(root.parent)
    (root / "art" / "again").symlink_to(root)
    with pytest.warns(UserWarning, match="skipped 2 linked folder"):
        source = DomainFolder(root)
    assert source.domains == ["art", "science"]
    assert len(list(source.documents())) == 4


def test_a_folder_in_which_nothing_is_readable_says_what_it_holds(tmp_path: pathlib.Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("a.pdf", "d/b.html", "d/c.html"):
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=r"have no \*\.txt, .* found 2 \*\.html, 1 \*\.pdf$"):
        DomainFolder(tmp_path)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "a.txt").write_text("x")
    with pytest.raises(DataError, match=r"subfolders without data: d \(2 \*\.html\); fill"):
        DomainFolder(tmp_path)


@pytest.mark.parametrize(
    "written",
    [
        "model/model.safetensors",
        "checkpoints/step_00000012/config.json",
        "logs/1/metrics.jsonl",
        "p/tokens.bin",
        "run/checkpoints/step_00000012/config.json",
    ],
)
@pytest.mark.parametrize("parent", ["", "art"])
def test_what_a_run_wrote_into_the_folder_of_its_data_is_no_data(
    root: pathlib.Path, parent: str, written: str
) -> None:
    before = [document.text for document in DomainFolder(root).documents()]
    file = root / parent / written
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    (file.parent / "config.json").write_text("{}")
    with pytest.warns(UserWarning, match="skipped 1 folder of a model, checkpoints, logs or tokens"):
        source = DomainFolder(root)
    assert [document.text for document in source.documents()] == before


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("metadata.json", '{"name": "poems", "version": 1}', "*.json without known fields"),
        ("dataset_infos.json", '{"default": {"features": {"text": {}}}}', "*.json without known fields"),
        ("index.json", '{"train": ["a.jsonl"], "test": []}', "*.json without known fields"),
        ("labels.json", "[1, 2, 3]", "*.json without known fields"),
        ("nothing.json", "", "*.json without known fields"),
        ("README.md", "", "empty *.md"),
    ],
)
@pytest.mark.parametrize("parent", ["", "art"])
def test_what_lies_next_to_the_data_and_is_none_is_left_out_and_counted(
    root: pathlib.Path, parent: str, name: str, content: str, kind: str
) -> None:
    before = [document.text for document in DomainFolder(root).documents()]
    (root / parent / name).write_text(content)
    with pytest.warns(UserWarning, match=re.escape(f"skipped 1 {kind}")):
        source = DomainFolder(root)
    assert [document.text for document in source.documents()] == before
    assert source.bad_records.report()["reasons"][f"not read: {kind}"]["count"] == 1


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ('[{"body": "record"}, {"body": "record"}]', {"text_field": "body"}),
        ('{"title": "a", "body": "record"}', {"template": "{title}: {body}"}),
        ('[{"text": null}, {"text": "record"}]', {}),
        ('{"question": "a", "answer": "record"}', {}),
        ('[{"response": "record"}]', {"kind": "instruction"}),
    ],
)
def test_a_json_file_of_records_is_read(
    tmp_path: pathlib.Path, content: str, options: dict[str, str]
) -> None:
    (tmp_path / "a.json").write_text(content)
    source = DomainFolder(tmp_path, options=ReadOptions(**options, skip_bad=True))
    assert all("record" in document.text for document in source.documents())
    assert len(source.parts) == 1


@pytest.mark.parametrize("content", ['{"text": "a', '[{"text": "a"}, 1]', "// no JSON", "[" * 1000])
def test_a_damaged_json_file_is_an_error_and_not_left_out(tmp_path: pathlib.Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=r"a\.json"):
        list(DomainFolder(tmp_path).documents())


def test_a_folder_of_unnamed_records_asks_for_their_fields(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.json").write_text('[{"body": "record"}]')
    with pytest.raises(DataError, match="without known fields; name the field of the text with"):
        DomainFolder(tmp_path)


@pytest.mark.parametrize("output", ["out", "runs/out"])
def test_the_output_that_a_run_has_locked_is_no_empty_domain(root: pathlib.Path, output: str) -> None:
    with (
        folder_lock(root / output),
        pytest.warns(UserWarning, match="skipped 1 folder of a model, checkpoints, logs or tokens"),
    ):
        assert DomainFolder(root).domains == ["art", "science"]
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="subfolders without data: empty"):
        DomainFolder(root)
