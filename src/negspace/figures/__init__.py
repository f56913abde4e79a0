"""Internal: what a figure shows, said once for every back-end: panels, series, forests, styles."""
