# All services, the client and the command line, without torch.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG UV_VERSION=0.13.8
RUN python -m pip install --no-cache-dir "uv==${UV_VERSION}"
ENV UV_PROJECT_ENVIRONMENT=/opt/bloomery UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /source
COPY . .
RUN uv sync --quiet --locked --no-dev --no-editable --python "$(command -v python)" --package bloomery-server
RUN uv export --quiet --locked --no-dev --package bloomery-server --format cyclonedx1.5 --output-file /opt/bloomery/sbom.cdx.json
# The recipes of both worker images as the trainer reads them; no code of theirs comes along.
RUN mkdir /opt/recipes \
 && uv pip install --quiet --no-deps --python /opt/bloomery --target /tmp/permissive services/trainer/worker services/trainer/recipes/onnx \
 && uv pip install --quiet --no-deps --python /opt/bloomery --target /tmp/all services/trainer/worker services/trainer/recipes/onnx services/trainer/recipes/yolo \
 && PYTHONPATH=/tmp/permissive /opt/bloomery/bin/python -P -m bloomery_worker.catalogue > /opt/recipes/worker-permissive.json \
 && PYTHONPATH=/tmp/all /opt/bloomery/bin/python -P -m bloomery_worker.catalogue > /opt/recipes/worker.json

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Bloomery control plane" \
      org.opencontainers.image.description="The services of Bloomery, its Python client and its command line" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      dev.bloomery.sbom="/opt/bloomery/sbom.cdx.json"
COPY --from=build /opt/bloomery /opt/bloomery
COPY --from=build /opt/recipes /opt/bloomery/recipes
ENV PATH=/opt/bloomery/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
CMD ["bloomery", "--help"]
