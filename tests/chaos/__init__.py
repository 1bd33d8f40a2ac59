"""A campaign against one home: everything is killed at random, and then the books are checked."""
