"""What Kizy imports of ComfyUI's `comfy_api`, without ComfyUI."""
