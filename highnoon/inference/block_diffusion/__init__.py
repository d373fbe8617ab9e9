"""Generation with models of block diffusion: token by token, and by blocks."""
