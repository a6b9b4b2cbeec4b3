"""The SQL, one module a noun. Every function works inside the transaction that it is given."""
