"""Adapters: LoRA factors saved, loaded and merged alone, in HighNoon's form and in that of PEFT."""

from highnoon.models.adapters.adapter_file import AdapterError, is_adapter_folder
from highnoon.models.adapters.load_adapted_model import base_of, load_adapted_model
from highnoon.models.adapters.load_adapter import load_adapter
from highnoon.models.adapters.merge_lora import merge_lora
from highnoon.models.adapters.save_adapter import save_adapter

__all__ = [
    "AdapterError",
    "base_of",
    "is_adapter_folder",
    "load_adapted_model",
    "load_adapter",
    "merge_lora",
    "save_adapter",
]
