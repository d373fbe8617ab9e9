"""Reads and writes model folders of Hugging Face `transformers`."""

from highnoon.models.hugging_face.export import export_model
from highnoon.models.hugging_face.load import is_hugging_face_folder, load_hugging_face

__all__ = ["export_model", "is_hugging_face_folder", "load_hugging_face"]
