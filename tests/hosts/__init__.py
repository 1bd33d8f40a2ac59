"""Real hosts, set up by `mcp-jobs install`. `make hosts` fetches them (1 GB) and runs this."""
