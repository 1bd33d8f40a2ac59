"""The HTTP side: REST, live events, WebSocket and MCP over one port. Needs the extra `http`."""
