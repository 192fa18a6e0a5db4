"""What can be picked: families and their facts, models, LoRAs, styles. Works without torch."""
