"""Tools for assistants that speak MCP."""
