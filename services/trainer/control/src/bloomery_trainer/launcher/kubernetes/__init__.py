"""Workers as Jobs of a Kubernetes cluster, one for each attempt."""
