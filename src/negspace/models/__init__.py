"""Internal: loading models, finding where they apply their activations, tapping them, telling them apart."""
