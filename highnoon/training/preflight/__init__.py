"""Checks and estimates made before the first step: data, memory, FLOPs."""
