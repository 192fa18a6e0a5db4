"""From a request to a Plan: resolve, inventory, model, LoRAs, sizes."""
