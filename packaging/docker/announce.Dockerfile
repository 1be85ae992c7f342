# The announcer: a static program and nothing else. From this repository: make images. From the
# Debian package, in /usr/share/doc/rollcall/examples:
#   tar -c announce.Dockerfile -C /usr/bin announce | docker build -t rollcall-announce -f announce.Dockerfile -
# On the machine's network, so that it finds the machine's address, and with Docker's socket:
#   docker run -d --network host -v /var/run/docker.sock:/var/run/docker.sock -v rollcall:/var/lib/rollcall \
#       rollcall-announce --endpoints http://10.0.0.1:2379
# For an etcd with TLS mount the authority's certificate, too: --cacert FILE. There is none in here.
FROM scratch
COPY announce /usr/bin/announce
# The lease, so that the next one takes the records over instead of waiting for their end.
VOLUME /var/lib/rollcall
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/announce"]
