"""Pictures and a name become a LoRA. Empty so far: training comes with its own release."""
