"""Internal: what every analysis needs: conditions, scores and effects, cells and what computes them, columns."""
