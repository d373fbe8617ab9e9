"""The embedded corpus: documentation and source code of the running Python's standard library."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import inspect
import os
import pathlib
import sysconfig
import tokenize
from collections.abc import Iterator

from highnoon.data.document import DataError, Document, DocumentSource

STDLIB_DOMAINS = ("docs", "code")

# Tests, bundled packages, and tables of numbers or characters are not typical text.
_SKIPPED_FOLDERS = frozenset(
    {
        "__pycache__",
        "test",
        "tests",
        "idle_test",
        "idlelib",
        "lib2to3",
        "site-packages",
        "dist-packages",
        "lib-dynload",
        "_bundled",
        "encodings",
        "pydoc_data",
    }
)


class StandardLibrary(DocumentSource):
    """Real text that every Python installation has: nothing is downloaded.

    Domain `docs`: the docstrings of each module, one document per module, then each help topic of `pydoc`.
    Domain `code`: the source code of each module, one document per module. Modules are parsed, not imported
    or executed. The text and the fingerprint differ between Python versions.

    Args:
        domains: Which of `"docs"` and `"code"` to read.

    Raises:
        DataError: If a domain is unknown, or this Python has no source files.

    Example:

    ```python
    from highnoon.data import StandardLibrary
    document = next(StandardLibrary(("docs",)).documents())
    assert document.domain == "docs"
    ```
    """

    def __init__(self, domains: tuple[str, ...] = STDLIB_DOMAINS) -> None:
        for domain in domains:
            if domain not in STDLIB_DOMAINS:
                raise DataError(
                    f"the embedded corpus has the domains {', '.join(STDLIB_DOMAINS)}; received {domain!r}"
                )
        self.domains = domains
        self.name = "stdlib" if domains == STDLIB_DOMAINS else f"stdlib:{'+'.join(domains)}"
        self._root = pathlib.Path(sysconfig.get_paths()["stdlib"])
        self._files = _module_files(self._root)
        if not self._files:
            raise DataError(
                f"this Python has no source files of its standard library at {self._root}; use text files of "
                f"your own"
            )

    def documents(self) -> Iterator[Document]:
        for domain in self.domains:
            yield from _docs(self._root) if domain == "docs" else _code(self._root)

    def _describe(self, digest: hashlib.blake2b) -> None:
        digest.update(repr(self.domains).encode())
        for path in self._files:
            digest.update(path.relative_to(self._root).as_posix().encode())
            digest.update(hashlib.blake2b(path.read_bytes(), digest_size=16).digest())
        if "docs" in self.domains:
            digest.update(repr(sorted(_topics().items())).encode())


@functools.lru_cache(maxsize=1)
def _docs(root: pathlib.Path) -> tuple[Document, ...]:
    """Returns the documentation, cached for the process: two megabytes that take seconds to parse."""
    texts = (
        (name, _docstrings(name, _read_source(path)))
        for path in _module_files(root)
        for name in [_module_name(root, path)]
    )
    modules = [Document(text, "stdlib", name, "docs") for name, text in texts if text]
    topics = [Document(text, "pydoc", topic, "docs") for topic, text in sorted(_topics().items())]
    return (*modules, *topics)


def _code(root: pathlib.Path) -> Iterator[Document]:
    for path in _module_files(root):
        text = _read_source(path)
        if text.strip():
            yield Document(text, "stdlib", _module_name(root, path), "code")


def _module_name(root: pathlib.Path, path: pathlib.Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@functools.lru_cache(maxsize=1)
def _module_files(root: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """Returns the library's modules, sorted, without files that the build of this machine generated."""
    found: list[pathlib.Path] = []
    for folder, folders, files in os.walk(root):
        # Pruned while walking: installed packages are often in a subfolder of the library.
        folders[:] = [name for name in folders if not _is_skipped(name)]
        found += [
            pathlib.Path(folder, name)
            for name in files
            if name.endswith(".py") and not name.startswith("_sysconfigdata")
        ]
    return tuple(sorted(found))


def _is_skipped(folder: str) -> bool:
    return folder in _SKIPPED_FOLDERS or folder.startswith("config-")


def _read_source(path: pathlib.Path) -> str:
    with tokenize.open(path) as stream:
        return stream.read()


def _topics() -> dict[str, str]:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    return topics


def _docstrings(module: str, source: str) -> str:
    """Returns the docstrings of a module and of its definitions, each after its dotted name."""
    pieces: list[str] = []

    def visit(node: ast.AST, name: str) -> None:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if docstring := ast.get_docstring(node, clean=False):
                pieces.append(f"{name}\n\n{inspect.cleandoc(docstring)}\n")
            for child in node.body:
                visit(child, f"{name}.{getattr(child, 'name', '')}")

    visit(ast.parse(source), module)
    return "\n".join(pieces)
