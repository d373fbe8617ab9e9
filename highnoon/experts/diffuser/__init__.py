"""A Gaussian diffusion model of a transformer's hidden states: the model, its schedule, and its objective."""
