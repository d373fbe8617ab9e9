"""Checks the manifest and the journal of a token store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from highnoon.files.block_hashes import are_block_hashes
from highnoon.files.sealed_json import DIGEST
from highnoon.files.shown import shown

TOKEN_TYPES = ("<u2", "<u4")
_PROGRESS: dict[str, tuple[type, ...]] = {
    "key": (str,),
    "documents": (int,),
    "tokens": (int,),
    "text_bytes": (int,),
    "domain_names": (list,),
    "sizes": (dict,),
}
_MANIFEST: dict[str, tuple[type, ...]] = {
    **_PROGRESS,
    "source": (str,),
    "tokenizer": (str,),
    "tokenizer_file": (str,),
    "tokenizer_fingerprint": (str,),
    "token_type": (str,),
    "validation_split": (int, float),
}


def progress_problem(values: Mapping[str, Any], files: Set[str], optional_files: Set[str]) -> str | None:
    """Returns what is wrong with a journal, or None; see `manifest_problem`."""
    return next(_progress_problems(values, files, optional_files), None)


def manifest_problem(values: Mapping[str, Any], files: Set[str], optional_files: Set[str]) -> str | None:
    """Returns what is wrong with a manifest, or None.

    Args:
        values: Its values.
        files: The files that a store must have, besides its tokenizer.
        optional_files: The files that it may have.
    """
    problems = [*_wrong_types(values, _MANIFEST), *_progress_problems(values, files, optional_files)]
    if problems:
        return problems[0]
    if values["token_type"] not in TOKEN_TYPES:
        return f"`token_type` is {shown(values['token_type'])}"
    if not 0 <= values["validation_split"] < 1:
        return f"`validation_split` is {values['validation_split']}"
    if not isinstance(values.get("left_out", {}), dict):
        return "`left_out` is not an object"
    return None


def _progress_problems(values: Mapping[str, Any], files: Set[str], optional_files: Set[str]) -> Iterator[str]:
    wrong = list(_wrong_types(values, _PROGRESS))
    yield from wrong
    if wrong:
        return
    sizes, tokenizer_file = values["sizes"], values.get("tokenizer_file")
    if (
        not isinstance(tokenizer_file, (str, type(None)))
        or tokenizer_file in ("", ".", "..")
        or (tokenizer_file and set(tokenizer_file) & set("/\\\0"))
    ):
        yield f"`tokenizer_file` is {shown(tokenizer_file)}"
        return
    if not files <= set(sizes) <= files | optional_files | {tokenizer_file}:
        yield f"`sizes` names {shown(sorted(sizes))}"
    if not all(type(size) is int and size >= 0 for size in sizes.values()):
        yield "`sizes` has a value that is not a size"
    elif "hashes" in values and DIGEST not in values:
        yield "it has no hash of its own content"
    elif "hashes" in values:
        hashes = values["hashes"]
        if (
            not isinstance(hashes, dict)
            or set(hashes) != set(sizes)
            or not all(are_block_hashes(hashes[name], size) for name, size in sizes.items())
        ):
            yield "`hashes` does not match `sizes`"
    label_names = values.get("label_names", [])
    if not isinstance(label_names, list) or not all(isinstance(name, str) for name in label_names):
        yield "`label_names` is no list of texts"
    origin_names = values.get("origin_names", [])
    if not isinstance(origin_names, list) or not all(isinstance(name, str) for name in origin_names):
        yield "`origin_names` is no list of texts"
    elif "origins.bin" in sizes and "origin_names" not in values:
        yield "`origin_names` is missing"
    if not all(isinstance(name, str) for name in values["domain_names"]):
        yield "`domain_names` has a value that is not a string"
    if any(values[name] < 0 for name in ("documents", "tokens", "text_bytes")):
        yield "a number is negative"
    if values["documents"] and not values["domain_names"]:
        yield "`domain_names` is empty"


def _wrong_types(values: Mapping[str, Any], form: Mapping[str, tuple[type, ...]]) -> Iterator[str]:
    for key, types in form.items():
        if key not in values:
            yield f"`{key}` is missing"
        elif isinstance(values[key], bool) or not isinstance(values[key], types):
            yield f"`{key}` is {shown(values[key], 40)}"
