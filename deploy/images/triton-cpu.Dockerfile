# A Triton server without GPUs, from the wheel, with a backend for ONNX models. Clusters with GPUs take NVIDIA's image instead.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE}
ARG UV_VERSION=0.13.8
COPY tools/real_parts /opt/triton/real_parts
# The server embeds the interpreter, whose library Debian keeps apart.
RUN PYTHONPATH=/opt/triton python -c 'import sys; from real_parts.triton import probe; sys.exit(probe(sys.executable) is None)' \
 || (apt-get update && apt-get install -y --no-install-recommends libpython3.11 && rm -rf /var/lib/apt/lists/*)
RUN python -m pip install --no-cache-dir "uv==${UV_VERSION}" \
 && mkdir /opt/triton/bin \
 && BLOOMERY_CACHE=/opt/triton/parts UV_NO_CACHE=1 PYTHONPATH=/opt/triton python -c \
    'from pathlib import Path; from real_parts.triton import triton_program; triton_program(Path("/opt/triton/bin"))' \
 && python -m pip uninstall --yes --quiet uv \
 && find /opt/triton/parts -name '*.dist-info' -printf '%f\n' | sed 's/\.dist-info$//; s/-/==/' | sort > /opt/triton/packages.txt
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Triton for Bloomery, without GPUs" \
      org.opencontainers.image.version="0.7.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="BSD-3-Clause AND Apache-2.0" \
      dev.bloomery.sbom="/opt/triton/packages.txt"
ENV PATH=/opt/triton/bin:/usr/local/bin:/usr/bin:/bin HOME=/tmp
USER 10001:10001
CMD ["tritonserver", "--help"]
