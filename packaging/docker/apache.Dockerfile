# A balancer: render as the first process, with the Apache HTTP Server as its child. From this repository: make images.
# From the Debian package, in /usr/share/doc/rollcall/examples:
#   tar -c apache.Dockerfile -C /usr/bin render | docker build -t rollcall-apache -f apache.Dockerfile -
#   docker run -d -p 80:80 -e RENDER_ENDPOINTS=http://10.0.0.1:2379 --stop-timeout 45 rollcall-apache
# Its settings are variables: render apache --help names them. BASE is any Debian or Ubuntu.
ARG BASE=debian:bookworm-slim
FROM $BASE
# Started as root, render has the server's workers run as www-data. It also runs as www-data
# altogether (--user www-data), on a network of Docker's, where that user may listen on port 80.
# A base that has the packages already needs no network.
RUN packages="apache2"; \
    dpkg --status $packages >/dev/null 2>&1 || \
    { apt-get update && apt-get install -y --no-install-recommends $packages; } && \
    rm -rf /var/lib/apt/lists/* && \
    install -d -o www-data -g www-data /run/rollcall /var/lib/rollcall
# What is remembered of etcd, for a start while etcd is away.
ENV RENDER_CACHE=/var/lib/rollcall/catalog
VOLUME /var/lib/rollcall
EXPOSE 80 443
# Whether render answers; render status in the container says what the server serves.
HEALTHCHECK --interval=10s --timeout=6s CMD ["/usr/bin/render", "status"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/render", "apache", "--supervise"]
# What changes comes last.
COPY render /usr/bin/render
