"""What keeps the models of a serving plan loaded in one runtime: beside a Triton server, or inside the service."""
