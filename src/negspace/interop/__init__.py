"""Internal: interventions handed out to other tools: hooks for plain torch and TransformerLens, edits for nnsight.

| function | what it gives |
| --- | --- |
| `torch_hooks` | hooks to register on the modules of a transformers model |
| `transformer_lens_hooks` | (name, hook) pairs for `bridge.run_with_hooks(fwd_hooks=...)` |
| `nnsight_edit` | a function to call inside `model.trace()` or `model.edit()` |

They do what `negspace.intervene` does with the same arguments, as long as their owner keeps them.
"""

from negspace.interop.lens import transformer_lens_hooks
from negspace.interop.plain import TorchHook, torch_hooks
from negspace.interop.traces import nnsight_edit

__all__ = ["TorchHook", "nnsight_edit", "torch_hooks", "transformer_lens_hooks"]
