"""From masks to go or no-go."""
