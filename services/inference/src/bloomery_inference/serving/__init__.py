"""Deployments: what is to be served, which replicas have loaded it, and who answers a prediction."""
