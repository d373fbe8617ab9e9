"""Opens data by name: the embedded corpus, local files, TensorFlow Datasets or Hugging Face."""

from __future__ import annotations

import dataclasses
import inspect
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from highnoon.config import (
    require_choice,
    require_count,
    require_flag,
    require_path,
    require_text,
    require_texts,
    resolve_keys,
    shown,
)
from highnoon.config.known_arguments import known_arguments
from highnoon.data.document import DataError, DocumentSource, SourceNotFoundError
from highnoon.data.formats.by_name import ALL_SUFFIXES, DATA_SUFFIXES, FOLDER_SUFFIXES
from highnoon.data.reading.encodings import UTF_8
from highnoon.data.reading.lines import MAX_LINE_BYTES
from highnoon.data.reading.remote import is_remote
from highnoon.data.reading.text_splits import TEXT_SPLITS
from highnoon.data.records.conversation_text import ChatTemplate
from highnoon.data.records.read_options import ReadOptions
from highnoon.data.sources.chosen_domains import ChosenDomains
from highnoon.data.sources.domain_folder import DomainFolder
from highnoon.data.sources.files import GLOB_CHARACTERS, Files
from highnoon.data.sources.hugging_face import HuggingFaceDataset
from highnoon.data.sources.in_memory import InMemoryDataset
from highnoon.data.sources.object_records import is_data_object
from highnoon.data.sources.prepared_tokens import PreparedTokens, is_prepared
from highnoon.data.sources.source_kinds import is_kind, local_folders, opener_of
from highnoon.data.sources.standard_library import STDLIB_DOMAINS, StandardLibrary
from highnoon.data.sources.tfds_source import TfdsDataset
from highnoon.files.expand_home import expand_home
from highnoon.files.nearest_name import nearest_names

# Common names of a dataset, and its name on the hub. A local copy with any of these names takes precedence.
ALIASES: dict[tuple[str, ...], str] = {
    ("pile", "pile_subset"): "monology/pile-uncopyrighted",
    ("the_stack", "the_stack_v2"): "bigcode/the-stack-smol",
    ("oasst", "open_assistant"): "OpenAssistant/oasst1",
    ("toolbench",): "tuandunghcmut/toolbench-v1",
}

_LOCAL_SUFFIXES = ("", *ALL_SUFFIXES)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?(@[\w./-]+)?")
_FILE_ENDINGS = (".gz", ".zst", *FOLDER_SUFFIXES)


@known_arguments
def open_source(
    name: Any,
    data_dir: str | os.PathLike[str] | None = None,
    split: str = "auto",
    *,
    text_field: str | None = None,
    template: str | None = None,
    learned_fields: Sequence[str] = (),
    kind: str | None = None,
    chat_template: str | ChatTemplate | None = None,
    skip_bad: bool = False,
    check_ids: bool = False,
    max_line_bytes: int = MAX_LINE_BYTES,
    label_field: str = "label",
    encoding: str = UTF_8,
    domains: Sequence[str] | None = None,
    documents: int | None = None,
) -> DocumentSource:
    """Returns the source with a name.

    The first that matches: the embedded corpus (`"stdlib"`, `"stdlib:docs"`, `"stdlib:code"`); a URL that
    fsspec opens; a local copy (`name`, `name.txt`, `name.jsonl` or another format, also compressed, or a
    folder of domains) in `data_dir`, then in the folder that the environment variable `HIGHNOON_DATA` names;
    a path or glob; `"tfds:name"`; `"hf:name"` or `"hf-stream:name"`; `"task:name"` or `"synthetic:name"`, see
    `highnoon.data.tasks.open_task`. `"org/name"` and the documented names (pile, the_stack, oasst, toolbench)
    also open the hub. Any other word raises an error without network access.

    Args:
        name: A name, a path, a URL; data in memory, see `InMemoryDataset`; or a `DocumentSource` or
            `TextDataset`, which is returned as it is.
        data_dir: A folder of local copies.
        split: How text files are split into documents, see `highnoon.data.reading.text_splits.split_text`.
        text_field: For this and the following options, see `highnoon.data.records.read_options.ReadOptions`.
        template: Text with field names in braces.
        learned_fields: Fields of `template` that are supervised.
        kind: The kind of every record: `"text"`, `"chat"`, `"instruction"` or `"preference"`.
        chat_template: The chat template that writes conversations.
        skip_bad: Skip and count bad records; `source.bad_records.report()` returns the counts.
        check_ids: Whether a record with a duplicate `id` is bad.
        max_line_bytes: Maximum size of a line, in bytes.
        label_field: Field that holds the label of a record, for classification.
        encoding: Encoding of the text, CSV, TSV and JSON files that are not UTF-8.
        domains: Read only these domains.
        documents: How many documents to read from a folder that `prepare` wrote or is writing, see
            `TokenStore`.

    Raises:
        SourceNotFoundError: If no data has that name.
        DataError: If the data cannot be read, or an option does not apply to it.

    Example:

    ```python
    from highnoon.data import open_source
    assert open_source("stdlib:docs").name == "stdlib:docs"
    ```
    """
    if is_data_object(name) or not isinstance(getattr(name, "source", name), DocumentSource):
        given = {"name": name, "split": split, "domains": domains, "documents": documents}
        domains = require_source_options(given)["domains"]
    options = ReadOptions(
        text_field,
        template,
        learned_fields,
        kind,
        chat_template,
        skip_bad,
        check_ids,
        max_line_bytes,
        label_field,
        encoding,
    )
    if is_data_object(name) or isinstance(name, (list, tuple)):
        return _open_object(name, options, domains, documents)
    for opened in (name, getattr(name, "source", None)):
        if isinstance(opened, DocumentSource):
            if options != ReadOptions() or documents is not None:
                raise DataError(
                    f"{opened.name} is open already and its options cannot change; pass them where it is "
                    f"created"
                )
            return opened
    if not isinstance(name, (str, os.PathLike)):
        raise DataError(
            f"a dataset must be a name, a path, data in memory, a TextDataset or a DocumentSource; received "
            f"{type(name).__name__}"
        )
    how = _Reading(split, options, domains, documents)
    source = _open_by_name(os.fspath(name), local_folders(data_dir), how)
    if documents is not None and not isinstance(source, PreparedTokens):
        raise DataError(
            f"`documents` applies to folders that `highnoon data prepare` wrote, and {name} is not one; "
            f"prepare it first"
        )
    # A folder of domains opens only these; from any other source the rest is skipped while reading.
    return source if domains is None or isinstance(source, DomainFolder) else ChosenDomains(source, domains)


def require_source_options(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Checks a dataset given as a mapping, without opening it.

    Args:
        entry: `name`, options of `open_source`, and `stream`.

    Returns:
        The mapping with the canonical names of its keys.

    Raises:
        ConfigError: If a key is unknown.
        DataError: If there is no name, or an option has the wrong type or is out of range.
    """
    if "name" not in entry:
        raise DataError(f"a dataset given as a mapping needs a `name`; received {shown(entry)}")
    known = {*inspect.signature(open_source).parameters, "stream"} - {"data_dir"}
    options = resolve_keys(entry, known, f"dataset {shown(entry['name'])}")
    is_object = is_data_object(options["name"]) or isinstance(options["name"], (list, tuple))
    if not is_object and not isinstance(options["name"], (str, os.PathLike, DocumentSource)):
        raise DataError(
            "a dataset must be a name, a path, data in memory, a TextDataset or a DocumentSource; received "
            f"{type(options['name']).__name__}"
        )
    if isinstance(options["name"], (str, os.PathLike)):
        require_path("name", options["name"], DataError)
    require_choice("split", options.get("split", "auto"), TEXT_SPLITS, DataError)
    require_flag("stream", options.get("stream", False), DataError)
    if options.get("documents") is not None:
        require_count("documents", options["documents"], error=DataError)
    if options.get("domains") is not None:
        domains = require_texts("domains", options["domains"], DataError)
        if not domains:
            raise DataError("`domains` must name at least one domain; received none")
        options["domains"] = [require_text("domains", domain, DataError) for domain in domains]
    fields = {field.name for field in dataclasses.fields(ReadOptions)}
    ReadOptions(**{key: value for key, value in options.items() if key in fields})
    return options


def is_documented_name(name: str) -> bool:
    """Returns whether a word is one of the documented names, or begins with the kind of a dataset."""
    kind = name.partition(":")[0]
    if kind in ("stdlib", "tfds", "hf", "hf-stream") or (kind != name and is_kind(kind)):
        return True
    return any(name in names for names in ALIASES)


def _open_object(
    data: Any, options: ReadOptions, domains: Sequence[str] | None, documents: int | None
) -> DocumentSource:
    if documents is not None:
        raise DataError(
            "`documents` applies to folders that `highnoon data prepare` wrote, not to data in memory"
        )
    source = InMemoryDataset(data, options=options)
    return source if domains is None else ChosenDomains(source, domains)


class _Reading(NamedTuple):
    """How files and records are read."""

    split: str
    options: ReadOptions
    domains: Sequence[str] | None
    documents: int | None


def _open_by_name(name: str, folders: list[pathlib.Path], how: _Reading) -> DocumentSource:
    kind, _, rest = name.partition(":")
    if kind == "stdlib":
        return StandardLibrary((rest,) if rest else STDLIB_DOMAINS)
    if is_remote(name):
        return Files(name, how.split, options=how.options)
    if opener := opener_of(name):
        return opener(rest, folders, how.options)
    if kind == "tfds" and rest:
        return TfdsDataset(rest, options=how.options)
    if kind in ("hf", "hf-stream") and rest:
        return HuggingFaceDataset(rest, options=how.options, is_streamed=kind == "hf-stream")
    tried: list[str] = []
    source = _open_local_copy(name, folders, how, tried) or _open_path(name, how, tried)
    return source or _open_hub(name, folders, how, tried)


def _spellings(name: str) -> list[str]:
    """Returns `name` and its other documented names."""
    group = next((names for names in ALIASES if name in names), ())
    return [name, *(other for other in group if other != name)]


def _open_local_copy(
    name: str, folders: list[pathlib.Path], how: _Reading, tried: list[str]
) -> DocumentSource | None:
    # "." and "./data" are always paths.
    if pathlib.Path(name).is_absolute() or name.startswith("."):
        return None
    for folder in folders:
        for spelling in _spellings(name):
            for suffix in _LOCAL_SUFFIXES:
                if source := _open_existing(folder / (spelling + suffix), name, how):
                    return source
        tried.append(f"{folder / name} and {name}{{{','.join(DATA_SUFFIXES)}}} in it, each also .gz and .zst")
    return None


def _open_existing(path: pathlib.Path, name: str, how: _Reading) -> DocumentSource | None:
    if path.is_dir():
        if is_prepared(path):
            return _open_prepared(path, name, how)
        return DomainFolder(path, how.domains, how.split, name, how.options)
    if path.is_file():
        return Files(path, how.split, name, options=how.options)
    return None


def _open_prepared(path: pathlib.Path, name: str, how: _Reading) -> DocumentSource:
    # Bad records and ids were handled when the tokens were prepared.
    if dataclasses.replace(how.options, check_ids=False, skip_bad=False) != ReadOptions():
        raise DataError(
            f"{path} is prepared already, so options of reading text have no effect; pass them to `highnoon "
            f"data prepare`"
        )
    return PreparedTokens(path, name, how.documents)


def _open_path(name: str, how: _Reading, tried: list[str]) -> DocumentSource | None:
    if GLOB_CHARACTERS & set(name):
        return Files(name, how.split, options=how.options)
    tried.append(f"the path {name}")
    return _open_existing(expand_home(name), name, how)


def _open_hub(name: str, folders: list[pathlib.Path], how: _Reading, tried: list[str]) -> DocumentSource:
    alias = next((hub for names, hub in ALIASES.items() if name in names), None)
    is_hub_name = bool(_HUB_NAME.fullmatch(name)) and not name.lower().endswith(_FILE_ENDINGS)
    reason: Exception | None = None
    if alias or is_hub_name:
        try:
            return HuggingFaceDataset(alias or name, options=how.options)
        except (DataError, ImportError) as error:
            tried.append(f"hf:{alias or name} ({error})")
            reason = error
    else:
        tried.append("not the hub, whose names are org/name, hf:name or tfds:name")
    near = nearest_names(name, _known_names(name, folders))
    hint = "pass a path, or a folder of local copies as data_dir or HIGHNOON_DATA"
    if near:
        hint = f"did you mean {' or '.join(f'`{other}`' for other in near)}?"
    elif len(name.split()) > 1:
        hint += "; to train on texts, give them as a list in the list, as in datasets=[texts]"
    raise SourceNotFoundError(f"no data is called `{name}`; tried {'; '.join(tried)}; {hint}") from reason


def _known_names(name: str, folders: list[pathlib.Path]) -> list[str]:
    known = ["stdlib", *(f"stdlib:{domain}" for domain in STDLIB_DOMAINS)]
    known += [spelling for names in ALIASES for spelling in names]
    for folder in folders:
        known += [entry.name.split(".")[0] for entry in folder.iterdir()]
    parent = expand_home(name).parent
    if parent.is_dir():
        known += [str(entry) for entry in parent.iterdir()]
    return sorted(set(known) - {name})
