"""What every analysis needs: conditions, their scores and effects, cells and what computes them, columns of tables."""
