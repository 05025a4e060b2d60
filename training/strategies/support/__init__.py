"""What several strategies share; nothing in here is a strategy."""
