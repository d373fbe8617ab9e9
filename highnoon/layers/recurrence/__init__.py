"""Recurrent mixers: state-space models and delta rules."""
