"""Our own training loop: exact, resumable epochs in plain torch for any recipe that brings a `Learner`."""
