"""File formats that hold records: one reader a file.

- `file_record`: what a reader takes and yields.
- `by_name`: the reader that a file's suffix selects.
- `jsonl`, `json_file`, `json_record`: JSON lines, JSON files, and one JSON object.
- `delimited`: CSV and TSV.
- `parquet`: Parquet.
- `tfrecord`, `array_record`, `tensorflow_example`: TFRecord, ArrayRecord, and `tf.train.Example`.
- `not_text`: refuses files that are not plain text.
"""
