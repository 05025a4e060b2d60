"""Files that are written whole, and what goes wrong with files."""
