"""SQL of the dataset service. Every function runs in a transaction that its caller opened."""
