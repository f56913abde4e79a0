"""Benchmarks: each module measures one kind of work against what people would use instead, in one run."""
