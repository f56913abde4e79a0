"""Six abilities that are not grammar, as tasks of lm-evaluation-harness: balanced items, and their files."""

# They fill the registry.
from tools.reference.abilities import categories, copying, endings, ordering, properties, recall  # noqa: F401
from tools.reference.abilities.files import write
from tools.reference.abilities.items import ABILITIES, Ability, Item, generate

__all__ = ["ABILITIES", "Ability", "Item", "generate", "write"]
