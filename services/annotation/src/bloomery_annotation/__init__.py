"""Projects and what people put into them: labels, images, annotations with their history, and imports."""
