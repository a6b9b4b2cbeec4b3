# What runs an attempt: the supervisor, torch and the recipes. RECIPES without the yolo ones makes an image that is Apache-2.0 throughout.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS uv
ARG UV_VERSION=0.13.8
RUN python -m pip install --no-cache-dir "uv==${UV_VERSION}"
ENV UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1

# What others wrote is most of it, and is built and carried anew only where this list is another one.
FROM uv AS list
ARG RECIPES="bloomery-recipe-yolo bloomery-recipe-onnx bloomery-recipe-timm bloomery-recipe-detr"
WORKDIR /source
COPY . .
RUN set -- ${RECIPES} \
 && uv export --quiet --locked --no-dev --no-emit-workspace $(printf ' --package %s' "$@") --output-file /list/requirements.txt

FROM ${PYTHON_IMAGE} AS locked
COPY --from=list /list /opt/bloomery-list
RUN --mount=type=bind,from=uv,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    export UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 \
 && uv venv --quiet --python "$(command -v python)" /opt/bloomery \
 && uv pip install --quiet --no-deps --require-hashes --python /opt/bloomery --requirements /opt/bloomery-list/requirements.txt

FROM uv AS own
ARG RECIPES="bloomery-recipe-yolo bloomery-recipe-onnx bloomery-recipe-timm bloomery-recipe-detr"
WORKDIR /source
COPY . .
RUN set -- ${RECIPES} \
 && uv export --quiet --locked --no-dev $(printf ' --package %s' "$@") --format cyclonedx1.5 --output-file /own/sbom.cdx.json \
 && uv export --quiet --locked --no-dev --no-hashes --no-editable $(printf ' --package %s' "$@") | grep '^\./' > /tmp/own.txt \
 && uv venv --quiet --python "$(command -v python)" /opt/bloomery \
 && uv pip install --quiet --no-deps --python /opt/bloomery --prefix /own --requirements /tmp/own.txt

FROM locked
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG LICENSES="Apache-2.0 AND AGPL-3.0-only"
COPY --from=own /own /opt/bloomery
ENV PATH=/opt/bloomery/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN python -P -m bloomery_worker.catalogue > /opt/bloomery/recipes.json
LABEL org.opencontainers.image.title="Bloomery worker" \
      org.opencontainers.image.description="Runs the jobs of Bloomery" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="${LICENSES}" \
      dev.bloomery.sbom="/opt/bloomery/sbom.cdx.json" \
      dev.bloomery.recipes="/opt/bloomery/recipes.json"
WORKDIR /tmp
USER 10001:10001
CMD ["python", "-P", "-m", "bloomery_worker"]
