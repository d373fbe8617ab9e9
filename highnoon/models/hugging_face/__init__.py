"""Folders of Hugging Face `transformers`: their models in, ours out."""

from highnoon.models.hugging_face.export import export_model
from highnoon.models.hugging_face.load import is_hugging_face_folder, load_hugging_face

__all__ = ["export_model", "is_hugging_face_folder", "load_hugging_face"]
