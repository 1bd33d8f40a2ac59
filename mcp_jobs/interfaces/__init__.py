"""The ways in: MCP, HTTP and the command line."""
