"""Tokenizers: a trainable byte-level BPE, a byte tokenizer, and published ones; chat templates."""

from highnoon.tokenization.byte_pair.bpe_tokenizer import QWTTextTokenizer
from highnoon.tokenization.byte_tokenizer import ByteStreamTokenizer, ByteTokenizer
from highnoon.tokenization.chat.chat_template import ChatTemplate, ChatTemplateError
from highnoon.tokenization.loading import load_tokenizer
from highnoon.tokenization.pretrained_tokenizer import PretrainedTokenizer
from highnoon.tokenization.special_tokens import SPECIAL_TOKENS
from highnoon.tokenization.tokenizer import Tokenizer, TokenizerError

__all__ = [
    "SPECIAL_TOKENS",
    "ByteStreamTokenizer",
    "ByteTokenizer",
    "ChatTemplate",
    "ChatTemplateError",
    "PretrainedTokenizer",
    "QWTTextTokenizer",
    "Tokenizer",
    "TokenizerError",
    "load_tokenizer",
]
