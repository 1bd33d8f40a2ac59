"""What kinds of jobs there are, and where they are declared."""
