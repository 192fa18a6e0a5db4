"""Data only: workflows for the template browser of ComfyUI."""
