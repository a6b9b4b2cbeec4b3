# Stands in for the official image where no registry is reached: the same user, variables, folders and start, from Debian's packages.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim
FROM ${BASE_IMAGE}
# Unpacked and not installed: their scripts write where a machine that builds may only lend its own settings.
RUN groupadd --gid 999 postgres && useradd --uid 999 --gid 999 --home-dir /var/lib/postgresql postgres \
 && apt-get update && apt-get install -y --no-install-recommends --download-only postgresql-15 \
 && for package in /var/cache/apt/archives/*.deb; do dpkg -x "$package" /opt/postgres; done \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
ENV PATH=/opt/postgres/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin LD_LIBRARY_PATH=/opt/postgres/usr/lib/x86_64-linux-gnu:/opt/postgres/lib/x86_64-linux-gnu LANG=C.UTF-8 PGDATA=/var/lib/postgresql/data
COPY tests/cluster/images/postgres-entrypoint /usr/local/bin/docker-entrypoint.sh
USER 999:999
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
