"""A source to a token store on disk, in this process, in several, or in a Beam pipeline.

- `tokenize`: into the cache.
- `prepare`: into a folder that the user names; `preparation_progress` shows how far it is.
- `fill_store`: what both do; `encoding_pool` and `encoding_worker` encode in several processes.
- `beam_prepare`, `beam_stages`: the same folder from an Apache Beam pipeline.
- `train_tokenizer`: trains a tokenizer on the training split of sources.
- `derive_columns`, `derivation_progress`: computes values of a frozen model for each token, once.
"""
