"""Tokenizers: a trainable byte-level BPE, a byte tokenizer, and published ones; chat templates."""

from highnoon.files.former_names import former_names
from highnoon.tokenization.byte_pair.byte_pair_tokenizer import BytePairTokenizer
from highnoon.tokenization.byte_tokenizer import ByteTokenizer
from highnoon.tokenization.chat.chat_template import ChatTemplate, ChatTemplateError
from highnoon.tokenization.loading import load_tokenizer
from highnoon.tokenization.pretrained_tokenizer import PretrainedTokenizer
from highnoon.tokenization.special_tokens import SPECIAL_TOKENS
from highnoon.tokenization.tokenizer import Tokenizer, TokenizerError

__all__ = [
    "SPECIAL_TOKENS",
    "ByteTokenizer",
    "ChatTemplate",
    "ChatTemplateError",
    "PretrainedTokenizer",
    "BytePairTokenizer",
    "Tokenizer",
    "TokenizerError",
    "load_tokenizer",
]

__getattr__ = former_names(__name__)
