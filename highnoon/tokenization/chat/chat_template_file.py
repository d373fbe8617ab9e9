"""The file of a chat template next to a tokenizer, or in the folder of a published model."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from typing import Any

from highnoon.files.foreign import ForeignDataError, read_json, require_type
from highnoon.tokenization.chat.chat_template import (
    BEGIN_TEMPLATE,
    DEFAULT_CHAT_TEMPLATE,
    ChatTemplate,
    ChatTemplateError,
)

CHAT_TEMPLATE_FILE = "highnoon_chat.json"
SETTINGS_FILE, JINJA_FILE = "tokenizer_config.json", "chat_template.jinja"

_FORMAT = "highnoon-chat-template"
_TOKENIZER_NAME = "tokenizer"
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_MAX_BYTES = 1 << 20


def chat_template_file(tokenizer_file: pathlib.Path) -> pathlib.Path:
    """Returns the path of the chat template that belongs to a tokenizer's file."""
    name = tokenizer_file.stem
    prefix = "" if name == _TOKENIZER_NAME else f"{name}."
    return tokenizer_file.with_name(prefix + CHAT_TEMPLATE_FILE)


def write_chat_template(template: ChatTemplate | None, file: pathlib.Path) -> None:
    """Writes a chat template; None removes that of an earlier tokenizer."""
    if template is None:
        file.unlink(missing_ok=True)
        return
    values = {"template": template.template, "variables": template.variables}
    text = json.dumps({"format": _FORMAT, **values, "checksum": _checksum(values)}, indent=1)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def read_chat_template(file: pathlib.Path) -> ChatTemplate | None:
    """Returns the chat template that `write_chat_template` wrote, None if there is none.

    Raises:
        ChatTemplateError: the file is damaged.
    """
    if not file.is_file():
        return None
    try:
        values = read_json(file, max_bytes=16 * _MAX_BYTES)
        checksum = values.pop("checksum", None)
        if values.pop("format", None) != _FORMAT or checksum != _checksum(values):
            raise ForeignDataError(f"{file} does not match its checksum")
        return _template(values["template"], values["variables"], str(file))
    except (ForeignDataError, KeyError) as error:
        raise ChatTemplateError(
            f"the chat template is damaged: {error}; take the file from a copy of the "
            f"model, or remove it to use no chat template",
            "damaged",
        ) from None


def read_published_template(folder: pathlib.Path) -> ChatTemplate | None:
    """Returns the chat template of a folder of `transformers`, None if it has none.

    That is `chat_template.jinja`, or `chat_template` in `tokenizer_config.json`.

    Raises:
        ChatTemplateError: the files are not what `transformers` writes.
    """
    try:
        file = folder / SETTINGS_FILE
        settings = read_json(file, max_bytes=64 * _MAX_BYTES) if file.is_file() else {}
        source: Any = settings.get("chat_template")
        if (folder / JINJA_FILE).is_file():
            file = folder / JINJA_FILE
            source = _read_text(file)
        if isinstance(source, list):
            named = {
                template.get("name"): template.get("template")
                for template in source
                if isinstance(template, dict)
            }
            source = named.get("default", next(iter(named.values()), None))
        if source is None:
            return None
        names = {name: settings.get(name) for name in _SPECIAL_TOKENS}
        contents = {
            name: value.get("content") if isinstance(value, dict) else value for name, value in names.items()
        }
        variables = {name: value for name, value in contents.items() if isinstance(value, str)}
        if source in (DEFAULT_CHAT_TEMPLATE, BEGIN_TEMPLATE + DEFAULT_CHAT_TEMPLATE):
            # A HighNoon export.
            return ChatTemplate()
        return _template(source, variables, str(file))
    except ForeignDataError as error:
        raise ChatTemplateError(str(error), "damaged") from None


def _read_text(file: pathlib.Path) -> str:
    with file.open("rb") as stream:
        content = stream.read(_MAX_BYTES + 1)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ForeignDataError(f"{file} is not UTF-8: {error.reason} at byte {error.start}") from None
    if len(content) > _MAX_BYTES:
        raise ForeignDataError(f"{file} has more than {_MAX_BYTES} bytes; expected a chat template")
    return text


def _template(source: Any, variables: Any, owner: str) -> ChatTemplate:
    require_type(source, (str, type(None)), f"`chat_template` of {owner}")
    require_type(variables, dict, f"`variables` of {owner}")
    for name, value in variables.items():
        require_type(value, str, f"the variable {name!r} of {owner}")
    return ChatTemplate.unchecked(source, variables)


def _checksum(values: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=8).hexdigest()
