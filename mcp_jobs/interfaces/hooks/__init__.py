"""What hosts call: hooks that tell their agents of jobs. They fail in silence, and harm no turn."""
