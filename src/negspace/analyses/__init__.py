"""The analyses, a package each: settings and plan, tables, sentences and figures; see docs/adding_an_analysis.md."""
