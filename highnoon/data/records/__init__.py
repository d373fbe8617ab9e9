"""Records (rows of files) to documents and preference pairs.

- `record_values`: plain Python values of a record's fields.
- `record_kind`: text, conversation, instruction or preference, told by the fields.
- `read_options`: the options of reading records.
- `needed_fields`: the columns of a table that rendering reads.
- `record_template`: several fields as one text.
- `chat_turns`, `conversation_text`: conversations in one form, and their text.
- `record_renderer`: the text of any record, with its supervised spans.
- `record_label`: the class of a record, for a classifier.
- `preference_pair`: a prompt with a better and a worse answer.
- `id_check`: duplicate ids.
- `record_source`: the base class of sources that read records.
"""
