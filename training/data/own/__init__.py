"""Pictures that a lab has annotated itself, in the form of an annotation tool."""
