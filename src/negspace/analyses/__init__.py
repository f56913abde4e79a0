"""Internal: the analyses, a package each; see docs/adding_an_analysis.md."""
