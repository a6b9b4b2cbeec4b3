"""SQL of the access service."""
