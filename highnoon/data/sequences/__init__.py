"""Packed sequences: the rows of batches, as a function of (seed, epoch, row).

- `packed_rows`, `rows_view`: rows from token stores, found by index.
- `split_documents`: the documents of one side of the split, from several stores.
- `row_layout`, `row_filling`: where documents are in rows, and the arrays of a batch.
- `classification_rows`: one labeled document per row.
- `mixture`: which source each row is drawn from, by weight.
- `shuffling`: an order computed from a seed.
- `to_tf_dataset`: rows as a `tf.data.Dataset` for `model.fit`.
- `streamed_rows`, `streamed_view`, `row_packing`, `document_stream`: rows from a source read forward.
"""
