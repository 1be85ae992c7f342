package etcd

import (
	"context"
	"fmt"
	"net/url"
	"os"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// A Server is an etcd server inside this process: a cluster of one, for one
// machine, for trying things out and for tests.
type Server struct {
	e     *embed.Etcd
	level zap.AtomicLevel // of what it writes to standard error
}

// StartServer starts a server that keeps its data in dir and listens for clients
// at the given URLs ("http://127.0.0.1:2379"). It returns when the server is
// ready to serve, or with ctx's error.
func StartServer(ctx context.Context, dir string, clients []string) (*Server, error) {
	cfg, err := serverConfig(dir, clients)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: %w", err)
	}
	return startServer(ctx, cfg)
}

func serverConfig(dir string, clients []string) (*embed.Config, error) {
	cfg := embed.NewConfig()
	cfg.Dir = dir
	cfg.Name = "rollcall"
	cfg.ListenClientUrls = nil
	for _, c := range clients {
		u, err := url.Parse(c)
		if err != nil || u.Scheme != "http" || u.Host == "" {
			return nil, fmt.Errorf("endpoint %q is not http://HOST:PORT", c)
		}
		cfg.ListenClientUrls = append(cfg.ListenClientUrls, *u)
	}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	// A cluster of one has no peers; any free port on loopback will do.
	cfg.ListenPeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.AdvertisePeerUrls = cfg.ListenPeerUrls
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = "periodic", "1h"
	cfg.EnableGRPCGateway = false // nobody here speaks JSON to it
	return cfg, nil
}

func startServer(ctx context.Context, cfg *embed.Config) (*Server, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded etcd: %w", err)
	}
	s := &Server{level: zap.NewAtomicLevelAt(zap.ErrorLevel)}
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), s.level)))
	var err error
	if s.e, err = embed.StartEtcd(cfg); err != nil {
		return nil, fmt.Errorf("embedded etcd: %w", err)
	}
	select {
	case <-s.e.Server.ReadyNotify():
		return s, nil
	case err := <-s.e.Err():
		s.Close()
		return nil, fmt.Errorf("embedded etcd: %w", err)
	case <-ctx.Done():
		s.Close()
		return nil, fmt.Errorf("embedded etcd: %w", ctx.Err())
	}
}

// Endpoints gives the URLs the server really listens at.
func (s *Server) Endpoints() []string {
	var urls []string
	for _, l := range s.e.Clients {
		urls = append(urls, "http://"+l.Addr().String())
	}
	return urls
}

// Failed gives a channel on which the server's own death is told.
func (s *Server) Failed() <-chan error { return s.e.Err() }

// Close stops the server; its data stays.
func (s *Server) Close() {
	// Every listener that is closed would be reported as one that broke.
	s.level.SetLevel(zap.FatalLevel)
	s.e.Close()
}
