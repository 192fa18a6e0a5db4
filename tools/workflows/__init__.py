"""Writes the bundled workflows for ComfyUI's template browser, and the API templates."""
