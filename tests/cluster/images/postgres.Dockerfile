# Stands in for the official image where no registry is reached: the same user, variables, folders and start, from Debian's packages.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim
FROM ${BASE_IMAGE}
# A certificate that nobody asks for would be made among the authorities, which a machine that builds may only lend.
RUN ln -s /bin/true /usr/local/sbin/make-ssl-cert \
 && groupadd --gid 999 postgres && useradd --uid 999 --gid 999 --home-dir /var/lib/postgresql postgres \
 && apt-get update && apt-get install -y --no-install-recommends postgresql-15 && rm -rf /var/lib/apt/lists/*
ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 PGDATA=/var/lib/postgresql/data
COPY tests/cluster/images/postgres-entrypoint /usr/local/bin/docker-entrypoint.sh
USER 999:999
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
