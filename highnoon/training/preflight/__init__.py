"""Checks and estimates before the first step: data, memory, FLOPs."""
