"""Narrations: clean text, known names, and which object a sentence says is being worked on."""
