"""Figures by analysis: each module makes them from documented tables alone."""
