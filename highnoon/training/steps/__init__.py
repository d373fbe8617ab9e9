"""One optimizer step and one evaluation, compiled, on any number of replicas."""
