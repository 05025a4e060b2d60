"""One page to look through what a gate decided, worst frames first."""
