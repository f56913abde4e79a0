"""Language models in GGUF files: transformers dequantises them once, and a folder of converted weights is kept."""
