"""A chat template for `transformers`."""

from __future__ import annotations

from highnoon.tokenization.chat.chat_template import BEGIN_TEMPLATE, ChatTemplate
from highnoon.tokenization.marked_text import text_pieces
from highnoon.tokenization.tokenizer import Tokenizer

_TURN = [{"role": "user", "content": "Probe"}]


def published_template(tokenizer: Tokenizer) -> str:
    """Returns the tokenizer's chat template in Jinja, for `chat_template` of `tokenizer_config.json`.

    `transformers` adds no begin token to what a chat template writes. So the exported template writes it
    first, if the tokenizer has one and the template does not write it itself.

    Raises:
        ChatTemplateError: the template is not Jinja.
        ImportError: it is Jinja, and the extra `chat` is not installed.
    """
    template = tokenizer.chat_template or ChatTemplate()
    source = template.jinja()
    if tokenizer.bos_token_id is None or _writes_begin(template, tokenizer):
        return source
    return BEGIN_TEMPLATE + source


def _writes_begin(template: ChatTemplate, tokenizer: Tokenizer) -> bool:
    prompt = template.prompt(_TURN)
    pieces = text_pieces(prompt, tokenizer)
    return not pieces or pieces[0].begin > 0
