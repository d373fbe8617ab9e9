"""The command line: one verb a file, each thin over the Python API.

A verb is a module with `SUMMARY` (one line), `configure(parser)` and `run(arguments)`, which returns
the exit code or None for 0. What costs time to import is imported inside `run`.
"""
