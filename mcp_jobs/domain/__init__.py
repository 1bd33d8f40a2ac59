"""The vocabulary of the project and its pure rules: no disk, no process, no clock of its own."""
