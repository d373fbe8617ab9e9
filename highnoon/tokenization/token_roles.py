"""Which tokens of a published tokenizer begin and end a text, pad it, and end an answer."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from highnoon.files.foreign import ForeignDataError, read_json
from highnoon.files.shown import shown
from highnoon.tokenization.tokenizer import TokenizerError

SETTINGS_FILES = ("special_tokens_map.json", "tokenizer_config.json")
"""Files of a published folder that name its special tokens; the last one that names a token decides."""

GENERATION_FILES = ("generation_config.json", "config.json")
"""Files of a published folder that list its end tokens; the first one that lists any decides."""

_KEY = "highnoon_roles"
_BEFORE = f', "{_KEY}": '
_NAMES = ("bos", "eos", "pad", "unk")
_ABSENT: Any = object()
_MOST_ENDS = 256
_MAX_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class TokenRoles:
    """Token ids by what they are for.

    Args:
        bos: Begins a text; None for none.
        eos: Ends a text; None for none.
        pad: Fills rows; None for none.
        unk: Stands for unknown text; None for none.
        ends: Further ids after which generation ends.
    """

    bos: int | None = None
    eos: int | None = None
    pad: int | None = None
    unk: int | None = None
    ends: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class PublishedRoles:
    """What the files next to a published `tokenizer.json` say of its special tokens.

    Args:
        names: The text of each token that the files name, or None where they say that there is none.
        adds_bos: Whether a text starts with the begin token; None where the files do not say.
        end_ids: Ids after which generation ends.
    """

    names: Mapping[str, str | None]
    adds_bos: bool | None
    end_ids: tuple[int, ...]

    def resolve(self, engine: Any, by_name: TokenRoles) -> TokenRoles:
        """Returns the ids.

        Args:
            engine: The tokenizer of the library `tokenizers`.
            by_name: The roles that the tokens' usual names give, for what the files do not say.
        """
        ids = {name: getattr(by_name, name) for name in _NAMES}
        for name, text in self.names.items():
            found = None if text is None else engine.token_to_id(text)
            if found is not None or text is None:
                ids[name] = found
        is_said = "bos" in self.names or self.adds_bos is not None
        if is_said and not self._begins(engine, ids["bos"]):
            ids["bos"] = None
        highest = max(engine.get_vocab(with_added_tokens=True).values(), default=-1)
        ends = [end for end in dict.fromkeys(self.end_ids) if end <= highest]
        if ids["eos"] is None:
            ids["eos"] = by_name.eos if by_name.eos is not None else next(iter(ends), None)
        if ids["pad"] == ids["eos"]:
            ids["pad"] = None  # a document's end is no padding
        return TokenRoles(**ids, ends=tuple(end for end in ends if end != ids["eos"]))

    def _begins(self, engine: Any, bos: int | None) -> bool:
        if self.adds_bos is not None or bos is None:
            return bool(self.adds_bos)
        return bool(engine.encode("a", add_special_tokens=True).ids[:1] == [bos])


def read_published_roles(folder: pathlib.Path) -> PublishedRoles | None:
    """Returns what a published folder says of its special tokens; None where it has no file of settings.

    Raises:
        TokenizerError: a file is damaged, or a value is of another type.
    """
    files = [folder / name for name in (*SETTINGS_FILES, *GENERATION_FILES[:1])]
    if not any(file.is_file() for file in files):
        return None
    names: dict[str, str | None] = {}
    adds_bos = None
    for file in (folder / name for name in SETTINGS_FILES):
        settings = _read(file)
        for name in _NAMES:
            given = settings.get(f"{name}_token", _ABSENT)
            given = given.get("content") if isinstance(given, dict) else given
            if given is None or isinstance(given, str):
                names[name] = given
        given = settings.get("add_bos_token")
        adds_bos = given if isinstance(given, bool) else adds_bos
    end_ids: tuple[int, ...] = ()
    for file in (folder / name for name in GENERATION_FILES):
        end_ids = end_ids or _ids(_read(file).get("eos_token_id"), f"`eos_token_id` of {file}")
    return PublishedRoles(names, adds_bos, end_ids)


def with_roles(definition: str, roles: TokenRoles) -> str:
    """Returns a `tokenizer.json` that holds the roles too, for `without_roles`; the rest stays as it is."""
    end = definition.rindex("}")
    return f"{definition[:end]}{_BEFORE}{json.dumps(dataclasses.asdict(roles))}{definition[end:]}"


def without_roles(definition: str) -> tuple[str, TokenRoles | None]:
    """Returns a `tokenizer.json` as the library `tokenizers` reads it, and the roles that it held.

    Raises:
        TokenizerError: the roles are damaged.
    """
    if f'"{_KEY}"' not in definition:
        return definition, None
    values = json.loads(definition)
    if _KEY not in values:
        return definition, None
    roles = values.pop(_KEY)
    if not isinstance(roles, dict) or set(roles) != {*_NAMES, "ends"}:
        raise TokenizerError(f"`{_KEY}` must hold {', '.join(_NAMES)} and ends; received {shown(roles)}")
    ids = {name: next(iter(_ids(roles[name], f"`{name}` of `{_KEY}`")), None) for name in _NAMES}
    found = TokenRoles(**ids, ends=_ids(roles["ends"], f"`ends` of `{_KEY}`"))
    plain = definition.replace(f"{_BEFORE}{json.dumps(dataclasses.asdict(found))}", "")
    is_ours = with_roles(plain, found) == definition
    return plain if is_ours else json.dumps(values, ensure_ascii=False), found


def _read(file: pathlib.Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return read_json(file, max_bytes=_MAX_BYTES)
    except ForeignDataError as error:
        raise TokenizerError(str(error)) from None


def _ids(value: Any, what: str) -> tuple[int, ...]:
    """Returns one id or a list of them as a tuple; none for null."""
    values = [] if value is None else value if isinstance(value, list) else [value]
    if len(values) > _MOST_ENDS or not all(type(one) is int and 0 <= one < 2**31 for one in values):
        raise TokenizerError(f"{what} must be a token id or a list of them; received {shown(value)}")
    return tuple(values)
