"""The command line: one verb a file, each thin over the Python API.

A verb is a module with `SUMMARY` (one line), `configure(parser)` and `run(arguments)`, which returns
the exit code or None for 0. What costs time to import is imported inside `run`.

A verb may also have `TAKES_FIELDS`, where its words set the keys of a recipe, and `ANSWERS_SIGNALS`, where it
answers Ctrl-C itself. An argument that is a path has one of the metavars of `path_values`, which expands `~`.
"""
