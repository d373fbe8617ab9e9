"""The process of a command: how TensorFlow is loaded, and how errors and aborts become one line."""
