"""Internal: statistics of pre-activations: streaming sketches, distances from the Gaussian, shape, difficulty."""
