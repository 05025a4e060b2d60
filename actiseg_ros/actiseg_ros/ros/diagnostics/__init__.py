"""What goes wrong: remembered, explained, logged and published on /diagnostics."""
