"""Finding ComfyUI servers, and starting those of this machine."""
