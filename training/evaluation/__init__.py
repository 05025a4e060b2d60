"""From weights to label images, and from label images to the official numbers."""
