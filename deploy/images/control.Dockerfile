# All services, the client and the command line, without torch.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS uv
ARG UV_VERSION=0.13.8
RUN python -m pip install --no-cache-dir "uv==${UV_VERSION}"
ENV UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1

# What others wrote is most of it, and is built and carried anew only where this list is another one.
FROM uv AS list
WORKDIR /source
COPY . .
RUN uv export --quiet --locked --no-dev --no-emit-workspace --package bloomery-server --output-file /list/requirements.txt

FROM ${PYTHON_IMAGE} AS locked
COPY --from=list /list /opt/bloomery-list
RUN --mount=type=bind,from=uv,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    export UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 \
 && uv venv --quiet --python "$(command -v python)" /opt/bloomery \
 && uv pip install --quiet --no-deps --require-hashes --python /opt/bloomery --requirements /opt/bloomery-list/requirements.txt

FROM uv AS own
WORKDIR /source
COPY . .
RUN uv export --quiet --locked --no-dev --package bloomery-server --format cyclonedx1.5 --output-file /own/sbom.cdx.json \
 && uv export --quiet --locked --no-dev --no-hashes --no-editable --package bloomery-server | grep '^\./' > /tmp/own.txt \
 && uv venv --quiet --python "$(command -v python)" /opt/bloomery \
 && uv pip install --quiet --no-deps --python /opt/bloomery --prefix /own --requirements /tmp/own.txt
# The recipes of both worker images; no code of theirs comes along.
RUN mkdir /recipes \
 && cd services/trainer && permissive="worker recipes/onnx recipes/timm recipes/detr" \
 && uv pip install --quiet --no-deps --python /opt/bloomery --target /recipes/worker-permissive $(printf ' ./%s' ${permissive}) \
 && uv pip install --quiet --no-deps --python /opt/bloomery --target /recipes/worker $(printf ' ./%s' ${permissive} recipes/yolo)

FROM locked AS recipes
COPY --from=own /own /opt/bloomery
COPY --from=own /recipes /recipes
RUN mkdir /out \
 && for each in worker-permissive worker; do PYTHONPATH=/recipes/$each /opt/bloomery/bin/python -P -m bloomery_worker.catalogue > /out/$each.json || exit 1; done

FROM locked
ARG VERSION=0.1.0
ARG REVISION=unknown
COPY --from=own /own /opt/bloomery
# As the trainer reads them.
COPY --from=recipes /out /opt/bloomery/recipes
LABEL org.opencontainers.image.title="Bloomery control plane" \
      org.opencontainers.image.description="The services of Bloomery, its Python client and its command line" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      dev.bloomery.sbom="/opt/bloomery/sbom.cdx.json"
ENV PATH=/opt/bloomery/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /tmp
USER 10001:10001
CMD ["bloomery", "--help"]
