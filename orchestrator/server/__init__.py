"""What listens on a port: REST and MCP."""
