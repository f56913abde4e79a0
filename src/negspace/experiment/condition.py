"""What is done to which neurons."""

from __future__ import annotations

import numpy as np

from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan


def with_means(neurons: NeuronSet, scan: Scan) -> NeuronSet:
    """The neurons that have a mean: all but those of experts that no token of the statistics reached."""
    has = np.isfinite(scan.table["mean"].to_numpy(np.float64))[neurons.rows]
    if has.all():
        return neurons
    return NeuronSet.from_rows(neurons.rows[has], neurons.layout, f"{neurons.origin}, those with a mean")
