"""The blocking face of the client: handles that run their asynchronous twins in a thread of their own."""
