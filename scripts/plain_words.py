"""Finds retired words in source and documents, and says which word of the field takes their place here.

    python scripts/plain_words.py                     # everything that CI checks
    python scripts/plain_words.py highnoon/layers     # one folder or file

The glossary in CONTRIBUTING.md lists the same words for people.
"""

from __future__ import annotations

import io
import pathlib
import re
import sys
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
CHECKED = ("highnoon", "docs", "README.md", "CONTRIBUTING.md", "examples", "recipes", "benchmarks")
ENDINGS = {".py", ".md", ".yaml", ".yml"}
EXEMPT = re.compile(r"<!-- glossary -->.*?<!-- end of glossary -->", re.DOTALL)

_DETERMINERS = (
    r"a|an|the|its|their|his|her|your|our|each|every|this|that|these|those|whose|which|what|same|own|equal|even|"
    r"fair|small|large|larger|smaller|actual|asked|no|any|some|all|both|one|two|three|of|in|by|with|per|as|other"
)
_OBJECTS = r"it|them|itself|the|a|an|each|every|all|its|their|these|those|this|that|one"


class Retired(NamedTuple):
    """A word that the house no longer uses.

    Args:
        word: As the glossary shows it.
        say: What to write instead.
        pattern: Finds it in a text; `_` counts as a space, and white space may be a line break.
        allowed: A match within one of these is fine.
    """

    word: str
    say: str
    pattern: str
    allowed: str = ""


RETIRED = (
    Retired("learnt", "supervised, trained, or loss mask", "learnt"),
    Retired("anew", "again, or from scratch", "anew"),
    Retired("beside", "next to, compared with, alongside", "beside"),
    Retired("naught", "nothing; or say what is wasted", "naught"),
    Retired("for ever", "forever, without limit", "for ever"),
    Retired("go on", "continue, resume", "(?:go|goes|going|went|gone) on"),
    Retired(
        "pass over",
        "skip",
        "pass(?:es|ed|ing)? over",
        "(?:a|one|each|every|per|single|first|second|full|whole|last|forward|backward) pass over",
    ),
    Retired("hand on", "pass to, forward", "hand(?:s|ed|ing)? on"),
    Retired("mend", "fix, repair", "mend(?:s|ed|ing)?"),
    Retired("rung", "step, action", "rungs?"),
    Retired("climb", "increase, take the next action", "climb(?:s|ed|ing)?"),
    Retired("forgive", "reset", "forgiv(?:e|es|en|ing)|forgave"),
    Retired("law", "distribution", "laws?", "(?:scaling|power) laws?"),
    Retired("how-manieth", "index, sequence number", "how-manieth"),
    Retired("heed", "follow, respect", "heed(?:s|ed|ing|less)?"),
    Retired("dear as", "costs as much as", "dear as"),
    Retired("the like", "similar; or name them", "the like"),
    Retired("stretch", "span", "stretch(?:es)?"),
    Retired("told of", "reported", "told of"),
    Retired("spoken", "fired, reported, said", "spoken"),
    Retired(
        "place",
        "index, position, slot; location or path",
        f"(?:{_DETERMINERS}|first|last|next|right) places?",
        "in place|that places|(?:all|both) place (?:the|it|a|them)",
    ),
    Retired(
        "place",
        "index, position, slot; location or path",
        "places?",
        "in place|in-place|take[sn]? place|took place|(?:to|will|must|can|not) place|"
        f"places? (?:{_OBJECTS}|on|under|weights|variables|arrays|tensors)",
    ),
    Retired(
        "share",
        "fraction, ratio, proportion; weights for a mixture",
        f"(?:{_DETERMINERS}) shares?|shares? (?:of|held|asked|actual|is|are|that)|shares? \\(",
        f"that shares? (?:{_OBJECTS})|(?:which|that|all|both) share (?!of)[a-z]+",
    ),
)
_SAY = {retired.word: retired.say for retired in RETIRED}

# In a name: the parts between underscores or capitals that must not stand there.
_NAME_PARTS = {
    "share": "share",
    "shares": "share",
    "place": "place",
    "places": "place",
    "law": "law",
    "laws": "law",
    "rung": "rung",
    "rungs": "rung",
    "learnt": "learnt",
    "stretch": "stretch",
    "stretches": "stretch",
}
# Names that users write in their own code and files. Keys of reports are exempt too, and so are lines that
# end with the comment `# former name`.
PUBLIC_NAMES = {
    "AlphabetShare",
    "LetterShare",
    "alphabet_share",
    "balanced_shares",
    "letter_share",
    "min_letter_share",
    "min_share",
    "share_actual",
    "share_asked",
}


class Found(NamedTuple):
    """A retired word in a file."""

    path: pathlib.Path
    line: int
    word: str
    text: str

    def __str__(self) -> str:
        path = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return f"{path}:{self.line}: `{self.text}`: say {_SAY[self.word]} (retired word `{self.word}`)"


def _compile(pattern: str) -> re.Pattern[str]:
    spaced = pattern.replace(" ", r"(?:[\s#_]|\\n)+")
    return re.compile(rf"(?<![A-Za-z])(?:{spaced})(?![A-Za-z])", re.IGNORECASE)


_PATTERNS = [(_compile(r.pattern), _compile(r.allowed) if r.allowed else None, r) for r in RETIRED]
_PUBLIC = re.compile(
    r"\b(?:" + "|".join(sorted(PUBLIC_NAMES)) + r")\b|[\"'`]places[\"'`]|^.*# former name$",
    re.MULTILINE,
)


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", "-", match[0])


def _in_prose(text: str) -> Iterator[tuple[int, str, str]]:
    text = _PUBLIC.sub(_blank, EXEMPT.sub(_blank, text))
    for pattern, allowed, retired in _PATTERNS:
        spans = [match.span() for match in allowed.finditer(text)] if allowed else []
        for match in pattern.finditer(text):
            if not any(start <= match.start() and match.end() <= stop for start, stop in spans):
                yield text.count("\n", 0, match.start()) + 1, retired.word, " ".join(match[0].split())


def _in_names(text: str) -> Iterator[tuple[int, str, str]]:
    exempt = {number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# former name")}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.NAME or token.string in PUBLIC_NAMES or token.start[0] in exempt:
            continue
        parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", token.string).lower().strip("_").split("_")
        verb = len(parts) > 1 and parts[0] in ("share", "place") and parts[1] not in ("of", "asked", "actual")
        for part in parts[1:] if verb or parts[:2] == ["in", "place"] else parts:
            if part in _NAME_PARTS and parts != ["in", "place"]:
                yield token.start[0], _NAME_PARTS[part], token.string


def retired_words_in(path: pathlib.Path, text: str | None = None) -> list[Found]:
    """Returns the retired words of a file in the order of its lines.

    Args:
        path: The file.
        text: Its content, if it is not to be read.
    """
    text = path.read_text(encoding="utf-8") if text is None else text
    found = set(_in_prose(text))
    if path.suffix == ".py":
        found |= {(line, word, name) for line, word, name in _in_names(text)}
    return [Found(path, *entry) for entry in sorted(found)]


def files_of(path: pathlib.Path) -> list[pathlib.Path]:
    """Returns the files of a folder that are checked, or the file itself."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix in ENDINGS and "results" not in file.parts)


def checked_files() -> list[pathlib.Path]:
    """Returns every file that CI checks."""
    return [file for name in CHECKED for file in files_of(ROOT / name)]


def main() -> int:
    paths = [pathlib.Path(word).resolve() for word in sys.argv[1:]]
    files = [file for path in paths for file in files_of(path)] if paths else checked_files()
    found = [entry for file in files for entry in retired_words_in(file)]
    print(*found, sep="\n" if found else "")
    print(f"{len(found)} retired words in {len(files)} files")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
