"""Tokenized documents on disk: the token store.

- `split_by_length`, `cut_document`: an only document, of which the end is held out.
- `origins`: the file and record of each document.
- `splitting`: the split into training and validation, by a hash of the text.
- `encoding`: texts to the arrays of a store.
- `token_store`: reads a store; `checked_array` checks its blocks, `store_manifest` its manifest.
- `store_writer`: writes a store so that a killed preparation can resume.
- `derived_columns`, `derived_writer`, `document_windows`: values that a frozen model computed for each token.
- `stacked_columns`, `token_columns`: those of several models as one column.
- `statistics`: counts of a source or a store.
"""
