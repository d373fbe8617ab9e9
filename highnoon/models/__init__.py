"""From a configuration to a `keras.Model`: presets, patterns, backbone, language model, saving."""
