"""Drawing Plans on ComfyUI servers."""
