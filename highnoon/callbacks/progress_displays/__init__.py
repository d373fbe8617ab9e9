"""Where the progress of a run is shown: a terminal, a notebook, or lines of a file."""
