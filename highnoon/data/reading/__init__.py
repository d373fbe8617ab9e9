"""Bytes to lines and texts, from local or remote files, plain or compressed.

- `remote`: files behind URLs that fsspec opens.
- `opening`: opens a file as a stream of bytes and detects damage.
- `whole_stream`, `zstd_stream`, `bounded_expansion`: the streams that `opening` combines.
- `encodings`, `transcoded`: files of other encodings, read as UTF-8, and the guess of an encoding.
- `lines`: numbered lines of a file, with a limit on their length.
- `text_splits`: splits a text file into documents.
"""
