"""Files of rows: one module a format, found by the end of a file's name."""
