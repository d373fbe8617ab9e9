"""Finding data by name: embedded, local, TensorFlow Datasets, Hugging Face."""

from __future__ import annotations

import difflib
import os
import pathlib
import re
from typing import Any

from highnoon.data.document import DataError, DocumentSource
from highnoon.data.domain_folder import DomainFolder
from highnoon.data.files import GLOB_CHARACTERS, Files
from highnoon.data.hugging_face import HuggingFaceDataset
from highnoon.data.standard_library import STDLIB_DOMAINS, StandardLibrary
from highnoon.data.tfds_source import TfdsDataset

# Names in use for one collection, and where the hub has it. Local copies under any of them come first.
ALIASES: dict[tuple[str, ...], str] = {
    ("pile", "pile_subset"): "monology/pile-uncopyrighted",
    ("the_stack", "the_stack_v2"): "bigcode/the-stack-smol",
    ("oasst", "open_assistant"): "OpenAssistant/oasst1",
    ("toolbench",): "tuandunghcmut/toolbench-v1",
}

_LOCAL_SUFFIXES = ("", ".txt", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".txt.gz", ".txt.zst")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")
_FILE_ENDING = re.compile(r"\.(txt|jsonl|json|md|gz|zst)$")


class SourceNotFoundError(DataError):
    """A name that stands for no data; the message lists what was tried."""


def open_source(name: Any, data_dir: str | os.PathLike[str] | None = None,
                split: str = "auto") -> DocumentSource:
    """Returns the documents that a name stands for.

    Tried in this order: the embedded corpus (`"stdlib"`, `"stdlib:docs"`, `"stdlib:code"`); a local copy
    (`name`, `name.txt`, `name.jsonl`, also packed, or a folder of domains) under `data_dir`, then under
    what the environment variable `HIGHNOON_DATA` names; a path or glob; `"tfds:name"`; `"hf:name"`, which
    `"org/name"` and the documented names (pile, the_stack, oasst, toolbench) also mean. A bare word that
    is none of these fails at once, without asking the network.

    Args:
        name: A name, a path, or a `DocumentSource` or `TextDataset`, which is taken as it is.
        data_dir: A folder of local copies.
        split: How text files are cut into documents, see `highnoon.data.text_splits.split_text`.

    Raises:
        SourceNotFoundError: nothing goes by that name.
        DataError: what does cannot be read.

    Example:

    ```python
    from highnoon.data import open_source
    assert open_source("stdlib:docs").name == "stdlib:docs"
    ```
    """
    if isinstance(name, DocumentSource):
        return name
    if isinstance(source := getattr(name, "source", None), DocumentSource):
        return source
    if not isinstance(name, (str, os.PathLike)):
        raise DataError(f"a dataset must be a name, a path, a TextDataset or a DocumentSource; received "
                        f"{type(name).__name__}")
    return _open_by_name(os.fspath(name), _data_folders(data_dir), split)


def _open_by_name(name: str, folders: list[pathlib.Path], split: str) -> DocumentSource:
    kind, _, rest = name.partition(":")
    if kind == "stdlib":
        return StandardLibrary((rest,) if rest else STDLIB_DOMAINS)
    if kind == "tfds" and rest:
        return TfdsDataset(rest)
    if kind == "hf" and rest:
        return HuggingFaceDataset(rest)
    tried: list[str] = []
    source = _open_local_copy(name, folders, split, tried) or _open_path(name, split, tried)
    return source or _open_hub(name, folders, tried)


def _data_folders(data_dir: str | os.PathLike[str] | None) -> list[pathlib.Path]:
    named = [("data_dir", data_dir), ("HIGHNOON_DATA", os.environ.get("HIGHNOON_DATA"))]
    folders = [(owner, pathlib.Path(folder).expanduser()) for owner, folder in named if folder]
    for owner, folder in folders:
        if not folder.is_dir():
            raise DataError(f"`{owner}` must name a folder; there is none at {folder}")
    return [folder for _, folder in folders]


def _spellings(name: str) -> list[str]:
    """`name`, and its other documented names."""
    group = next((names for names in ALIASES if name in names), ())
    return [name, *(other for other in group if other != name)]


def _open_local_copy(name: str, folders: list[pathlib.Path], split: str,
                     tried: list[str]) -> DocumentSource | None:
    if pathlib.Path(name).is_absolute():
        return None
    for folder in folders:
        for spelling in _spellings(name):
            for suffix in _LOCAL_SUFFIXES:
                if source := _open_existing(folder / (spelling + suffix), name, split):
                    return source
        tried.append(f"{folder / name} and {name}{{{','.join(_LOCAL_SUFFIXES[1:])}}} there")
    return None


def _open_existing(path: pathlib.Path, name: str, split: str) -> DocumentSource | None:
    if path.is_dir():
        return DomainFolder(path, split=split, name=name)
    if path.is_file():
        return Files(path, split, name)
    return None


def _open_path(name: str, split: str, tried: list[str]) -> DocumentSource | None:
    if GLOB_CHARACTERS & set(name):
        return Files(name, split)
    tried.append(f"the path {name}")
    return _open_existing(pathlib.Path(name).expanduser(), name, split)


def _open_hub(name: str, folders: list[pathlib.Path], tried: list[str]) -> DocumentSource:
    alias = next((hub for names, hub in ALIASES.items() if name in names), None)
    is_hub_name = bool(_HUB_NAME.fullmatch(name)) and not _FILE_ENDING.search(name)
    reason: Exception | None = None
    if alias or is_hub_name:
        try:
            return HuggingFaceDataset(alias or name)
        except (DataError, ImportError) as error:
            tried.append(f"hf:{alias or name} ({error})")
            reason = error
    else:
        tried.append("not the hub, whose names are org/name, hf:name or tfds:name")
    near = difflib.get_close_matches(name, _known_names(name, folders), n=3)
    hint = f"did you mean {' or '.join(f'`{other}`' for other in near)}?" if near else (
        "give a path, or a folder of local copies as data_dir or HIGHNOON_DATA")
    raise SourceNotFoundError(f"no data is called `{name}`; tried {'; '.join(tried)}; {hint}") from reason


def _known_names(name: str, folders: list[pathlib.Path]) -> list[str]:
    known = ["stdlib", *(f"stdlib:{domain}" for domain in STDLIB_DOMAINS)]
    known += [spelling for names in ALIASES for spelling in names]
    for folder in folders:
        known += [entry.name.split(".")[0] for entry in folder.iterdir()]
    parent = pathlib.Path(name).expanduser().parent
    if parent.is_dir():
        known += [str(entry) for entry in parent.iterdir()]
    return sorted(set(known) - {name})
