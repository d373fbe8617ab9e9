"""Sources of documents, and `open_source`, which opens one by name.

- `open_source`: a name, path, glob or URL to a source.
- `source_kinds`: names of the form `kind:name` that other packages open.
- `files`, `glob_files`: files of text and of records.
- `domain_folder`, `folder_files`, `holds_records`: a folder with one subfolder a domain.
- `chosen_domains`: some of a source's domains.
- `hub_source`, `hugging_face`, `tfds_source`: datasets of the Hugging Face hub and of TensorFlow Datasets.
- `in_memory`, `object_records`: objects of other libraries, lists, tables and functions.
- `dataset_entries`, `absent_data`: the entries of `datasets=`, and data in memory of a saved run.
- `standard_library`: the embedded corpus.
- `prepared_tokens`: a folder that `prepare` wrote.
- `labeled_documents`: documents that each have a label.
- `source_template`: the chat template that a source's conversations are written with.
- `changed_reading`, `earlier_turns`: which files an earlier version read as other documents.
- `data_check`: everything in a source that cannot be used.
- `more_records`: which files hold records that earlier versions skipped.
- `distinct_names`: sources used together need distinct names.
"""
