"""Published weights of BDH, the Dragon Hatchling."""

from highnoon.models.hatching.load_bdh import load_bdh

__all__ = ["load_bdh"]
