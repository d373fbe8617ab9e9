"""Starts the workers of a run: where each runs, by which command, and what happens when one fails."""
