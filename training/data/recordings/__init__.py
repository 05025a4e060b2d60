"""Recordings of one's own: from bags and videos to pictures and narrations."""
