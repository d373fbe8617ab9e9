"""From files, local or remote, plain or compressed, to lines and texts."""
