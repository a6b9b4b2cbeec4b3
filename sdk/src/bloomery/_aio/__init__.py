"""The client itself, asynchronous; `bloomery._sync` puts a blocking face on it."""
