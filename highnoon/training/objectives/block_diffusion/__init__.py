"""Block diffusion: the objective, its inputs, and the bound on the likelihood of longer blocks."""
