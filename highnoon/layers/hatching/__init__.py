"""Layers of Dragon Hatching: BDH's neurons, and spiking ones."""

from highnoon.layers.hatching.bdh_layer import BDHLayer
from highnoon.layers.hatching.leaky_integrate_fire import LeakyIntegrateFire
from highnoon.layers.hatching.spiking_bdh_layer import SpikingBDHLayer

__all__ = ["BDHLayer", "LeakyIntegrateFire", "SpikingBDHLayer"]
