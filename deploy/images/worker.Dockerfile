# What runs an attempt: the supervisor, torch and the recipes. RECIPES without the yolo ones makes an image that is Apache-2.0 throughout.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG UV_VERSION=0.13.8
RUN python -m pip install --no-cache-dir "uv==${UV_VERSION}"
ENV UV_PROJECT_ENVIRONMENT=/opt/bloomery UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
ARG RECIPES="bloomery-recipe-yolo bloomery-recipe-onnx"
WORKDIR /source
COPY . .
RUN set -- ${RECIPES} \
 && uv sync --quiet --locked --no-dev --no-editable --python "$(command -v python)" $(printf ' --package %s' "$@") \
 && uv export --quiet --locked --no-dev $(printf ' --package %s' "$@") --format cyclonedx1.5 --output-file /opt/bloomery/sbom.cdx.json \
 && /opt/bloomery/bin/python -P -m bloomery_worker.catalogue > /opt/bloomery/recipes.json

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG LICENSES="Apache-2.0 AND AGPL-3.0-only"
LABEL org.opencontainers.image.title="Bloomery worker" \
      org.opencontainers.image.description="Runs the jobs of Bloomery" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="${LICENSES}" \
      dev.bloomery.sbom="/opt/bloomery/sbom.cdx.json" \
      dev.bloomery.recipes="/opt/bloomery/recipes.json"
COPY --from=build /opt/bloomery /opt/bloomery
ENV PATH=/opt/bloomery/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
CMD ["python", "-P", "-m", "bloomery_worker"]
