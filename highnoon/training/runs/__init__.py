"""Executing a plan: the loop, its progress, faults, signals, best weights."""
