// Package daemon is what makes a program a good daemon: its logs, the order in
// which it starts and stops, the signals it obeys, what it tells systemd, and
// the endpoint for health and metrics. It knows nothing of etcd, Docker or
// proxies; what is healthy, what must be stopped and what there is to report
// come from its caller as functions.
package daemon
