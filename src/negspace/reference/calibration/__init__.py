"""Models whose answer is known: agreement runs below zero through known neurons, above zero, or nowhere in particular.

They are built, in a language made for them; only what ordinary neurons write is fitted. See `models` for the three,
`circuit` for how they work and `material` for what they are tested on.
"""

from negspace.reference.calibration.folder import Made, make
from negspace.reference.calibration.lexicon import Lexicon
from negspace.reference.calibration.material import Material
from negspace.reference.calibration.material import write as write_material
from negspace.reference.calibration.models import MODELS, Name, build

__all__ = ["MODELS", "Lexicon", "Made", "Material", "Name", "build", "make", "write_material"]
