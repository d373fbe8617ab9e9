"""Reading and writing files and terminal output safely; the lowest room, which imports no other.

Folders that are complete or absent:

- `whole_folder`: replaces a folder atomically; `folder_lock`: one writer at a time.
- `folder_manifest`, `file_hash`, `block_hashes`, `sealed_json`: detect damage.
- `appended_file`, `sync_to_disk`, `name_path`: append, flush, and errors with a path.
- `expand_home`: paths with `~`.

Data of others:

- `foreign`, `yaml_loader`: JSON and YAML with limits.
- `shown`, `nearest_name`: values and names in error messages.
- `former_names`: former names of a package, found in `highnoon.compat`.

Output:

- `printable`, `printable_stream`, `print_text`, `terminal_console`: text that is safe to print.
"""
