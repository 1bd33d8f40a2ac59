"""Set hosts up: what each wants to read, and careful changes to its file."""
