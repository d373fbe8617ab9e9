"""Batteries that hold a layer, a mixer, a model or a dataset to its contract; also for extensions."""
