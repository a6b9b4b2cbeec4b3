"""SQL of the model registry. Every function runs in a transaction that its caller opened."""
