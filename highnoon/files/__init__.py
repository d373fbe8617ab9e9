"""Files that several parts of the package read and write: foreign JSON, locks, whole folders, hashes."""
