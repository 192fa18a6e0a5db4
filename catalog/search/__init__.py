"""From a sentence to LoRAs and a model: parsed prompt, evidence, choice, reasons."""
