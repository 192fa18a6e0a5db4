"""Workflow templates: (plan, template, what a server has) -> ComfyUI's API-format graph. Pure."""
