"""The error of a configuration that cannot be used."""

from __future__ import annotations


class ConfigError(ValueError):
    """A configuration that cannot be used: an unknown or repeated key, or a value out of range."""
