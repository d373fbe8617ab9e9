"""The actions of `highnoon experts`, one a file."""
