"""The built-in trainer: LoRAs for the starter, Stable Diffusion 1.5 and SDXL, with peft."""
