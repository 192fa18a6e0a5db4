"""Drawing in this process with diffusers: load, apply LoRAs, sample, decode."""
