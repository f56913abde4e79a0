"""What the neurons' pre-activations look like: streaming sketches, distances from the Gaussian, shape, difficulty."""
