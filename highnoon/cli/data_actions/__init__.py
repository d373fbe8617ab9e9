"""The actions of `highnoon data`, one a file."""
