"""The MCP side: tools, resources, push. The only place that knows the protocol."""
