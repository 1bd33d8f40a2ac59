"""A campaign against one home: everything of it is harmed at random, and the books are checked."""
