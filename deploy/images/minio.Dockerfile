# MinIO, built from its pinned Go module: nobody maintains an image of it any more.
ARG GO_IMAGE=docker.io/library/golang:1.26-bookworm
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${GO_IMAGE} AS build
# As tools/real_parts/minio.py has it.
ARG MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
ENV CGO_ENABLED=0 GOBIN=/out GOFLAGS=-modcacherw
RUN go install -trimpath -ldflags="-s -w" "github.com/minio/minio@${MINIO_VERSION}" \
 && go version -m /out/minio > /out/minio.modules

FROM ${BASE_IMAGE}
ARG MINIO_VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
LABEL org.opencontainers.image.title="MinIO for Bloomery" \
      org.opencontainers.image.version="${MINIO_VERSION}" \
      org.opencontainers.image.source="https://github.com/minio/minio" \
      org.opencontainers.image.licenses="AGPL-3.0-only" \
      dev.bloomery.sbom="/usr/share/minio/minio.modules"
COPY --from=build /out/minio /usr/local/bin/minio
COPY --from=build /out/minio.modules /usr/share/minio/minio.modules
ENV HOME=/tmp MINIO_BROWSER=off MINIO_UPDATE=off
USER 10001:10001
ENTRYPOINT ["minio"]
CMD ["server", "/data"]
