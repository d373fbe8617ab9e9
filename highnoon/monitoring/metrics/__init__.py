"""Metrics of a run: names, and the metrics file.

- `metric_names`: canonical names, labels, formats and aliases.
- `find_run`: finds metrics files; `metrics_reader` follows one; `metrics_line` parses a line.
- `export_csv`: writes metrics as CSV.
- `number`: numbers in parsed JSON.
"""
