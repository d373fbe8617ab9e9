"""Sources of documents: files, folders, hubs, the embedded corpus, prepared tokens."""
