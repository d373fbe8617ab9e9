"""Views of a run.

- `run_view`: the data of a page, updated from the metrics file.
- `run_page`: the page as text; `sparkline`: a curve as one line of text.
- `plot_run`: curves as a picture; `drawable`: points that can be plotted.
"""
