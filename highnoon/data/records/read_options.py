"""Options of reading records."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from highnoon.config import require_count, require_flag, require_text, require_texts, shown
from highnoon.data.document import DataError
from highnoon.data.reading.encodings import UTF_8, require_encoding
from highnoon.data.reading.lines import MAX_LINE_BYTES
from highnoon.data.records.record_kind import KINDS
from highnoon.data.records.record_template import RecordTemplate
from highnoon.tokenization.chat.chat_template import ChatTemplate, ChatTemplateError

# Increase it when the same records give other documents than before.
_RENDERING_VERSION = 1

# Increase it when records whose kind is inferred from their fields give other documents than before.
_FOUND_FIELDS_VERSION = 2


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How records become documents, and what happens to records that cannot.

    Args:
        text_field: Field that holds the text; None infers the kind of record from its fields, see
            `record_kind`.
        template: Text with field names in braces, `"{title}\\n\\n{body}"`; `{{` and `}}` are literal braces.
        learned_fields: Fields of `template` that are supervised; empty supervises the whole text.
        kind: The kind of every record: `"text"`, `"chat"`, `"instruction"` or `"preference"`.
        chat_template: A Jinja template or a `ChatTemplate` that writes conversations; None uses the default
            of `ChatTemplate`.
        skip_bad: Skip and count records, lines and files that cannot be used, instead of raising.
        check_ids: Whether a record with a duplicate `id` is bad.
        max_line_bytes: Maximum size of a line, or of a record of several lines, in bytes.
        label_field: Field that holds the class of a record, a string or an integer; see `LabeledDocuments`.
        encoding: Encoding of the text, CSV, TSV and JSON files that are not UTF-8, such as `"latin-1"`,
            `"cp1252"` or `"utf-16"`; a name that Python knows.

    Raises:
        DataError: If an option is out of range, or two options contradict each other.
    """

    text_field: str | None = None
    template: str | None = None
    learned_fields: Sequence[str] = ()
    kind: str | None = None
    chat_template: str | ChatTemplate | None = None
    skip_bad: bool = False
    check_ids: bool = False
    max_line_bytes: int = MAX_LINE_BYTES
    label_field: str = "label"
    encoding: str = UTF_8

    def __post_init__(self) -> None:
        for name in ("text_field", "template", "kind"):
            if getattr(self, name) is not None:
                require_text(name, getattr(self, name), DataError)
        for name in ("skip_bad", "check_ids"):
            require_flag(name, getattr(self, name), DataError)
        require_count("max_line_bytes", self.max_line_bytes, error=DataError)
        require_text("label_field", self.label_field, DataError)
        require_text("encoding", self.encoding, DataError)
        object.__setattr__(self, "encoding", require_encoding(self.encoding))
        if self.chat_template is not None and not isinstance(self.chat_template, ChatTemplate):
            require_text("chat_template", self.chat_template, DataError)
        require_texts("learned_fields", self.learned_fields, DataError)
        if self.kind is not None and self.kind not in KINDS:
            raise DataError(f"`kind` must be one of {', '.join(KINDS)}; received {shown(self.kind)}")
        ways = {"text_field": self.text_field, "template": self.template}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise DataError("`text_field` and `template` exclude each other; pass one of them")
        if given and self.kind not in (None, "text"):
            raise DataError(f"`{given[0]}` makes a record plain text; remove it, or kind={self.kind!r}")
        fields = self.learned_fields
        object.__setattr__(self, "learned_fields", (fields,) if isinstance(fields, str) else tuple(fields))
        if self.learned_fields and self.template is None:
            raise DataError("`learned_fields` names fields of a `template`; pass `template` too")
        if self.template is not None:
            RecordTemplate(self.template, self.learned_fields)

    def chat(self) -> ChatTemplate:
        """Returns the chat template.

        Raises:
            DataError: If `chat_template` is not valid Jinja.
        """
        if isinstance(self.chat_template, ChatTemplate):
            return self.chat_template
        try:
            return ChatTemplate(self.chat_template)
        except ChatTemplateError as error:
            raise DataError(str(error)) from None

    @property
    def may_write_conversations(self) -> bool:
        """Whether a record may be a conversation, not only a field or a template."""
        return self.text_field is None and self.template is None and self.kind != "text"

    def describe_records(self) -> str:
        """Returns `describe` and the version of how fields are interpreted, for a fingerprint of records."""
        is_given = self.text_field is not None or self.template is not None
        return self.describe() if is_given else f"{self.describe()}, fields {_FOUND_FIELDS_VERSION}"

    def describe(self) -> str:
        """Returns all options that affect the documents, for a fingerprint."""
        # Files that are read without it have the fingerprints that they always had.
        encoding = [] if self.encoding == UTF_8 else [self.encoding]
        return json.dumps(
            [
                _RENDERING_VERSION,
                self.text_field,
                self.template,
                list(self.learned_fields),
                self.kind,
                self.chat().describe(),
                self.skip_bad,
                self.max_line_bytes if self.skip_bad else None,
                self.check_ids and self.skip_bad,
                *encoding,
            ]
        )
