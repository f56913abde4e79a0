"""The analyses, a package each: settings and plan, tables, sentences and figures; see docs/extending.md for more."""
