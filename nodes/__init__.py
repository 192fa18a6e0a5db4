"""Kizy's nodes for ComfyUI."""
