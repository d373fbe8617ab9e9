"""From records of files to documents: kinds of records, conversations, templates, bad records."""
