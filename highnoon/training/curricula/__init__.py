"""Curriculum schedulers: the order and pace in which samples are trained on."""
