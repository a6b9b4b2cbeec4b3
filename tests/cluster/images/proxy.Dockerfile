# Stands in for the unprivileged image of nginx where no registry is reached, from Debian's packages.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim
FROM ${BASE_IMAGE}
RUN apt-get update && apt-get install -y --no-install-recommends nginx-light && rm -rf /var/lib/apt/lists/*
USER 101:101
# As the official image has it: what is under way is finished.
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
