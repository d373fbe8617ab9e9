"""Chat templates: conversations as text, with the spans that are supervised."""
