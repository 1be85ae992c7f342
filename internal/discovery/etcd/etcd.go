// Package etcd is the only room that speaks to etcd. It writes records under a
// lease (Registry), follows them (Source), carries the renderers'
// acknowledgements and the operators' drains, and can run an etcd server inside
// the process. It knows keys, leases and revisions; what a record means is
// discovery's business, and when to write one is the caller's.
package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
)

const (
	// requestTimeout bounds one unary request. Loops retry; a person sees an error.
	requestTimeout = 5 * time.Second

	// A try to connect may take a second where etcd is far; the next follows soon.
	connectTimeout = time.Second
	retryMin       = 100 * time.Millisecond
	retryMax       = 500 * time.Millisecond
)

// Config says how etcd is reached. The fields mean what etcdctl's flags of the
// same names mean.
type Config struct {
	Endpoints []string
	CACert    string // file
	Cert, Key string // files; read again at each handshake, so that they may be rotated
	User      string
	Password  string
}

// A Client is a connection to etcd. It connects in the background and connects
// again for ever, waiting at most a second between two tries: with gRPC's own
// backoff a change made after a long outage would be seen minutes late.
type Client struct {
	c *clientv3.Client
}

// Open prepares a client. It does not wait for a server, except where a user is
// given: then it has to log in first, and retries until ctx is done while no
// server answers. A wrong certificate file, user or password is an error at once.
func Open(ctx context.Context, cfg Config, logger *slog.Logger) (*Client, error) {
	tlsConfig, err := cfg.tls()
	if err != nil {
		return nil, err
	}
	said := false
	open := func() (*clientv3.Client, error) {
		// The client must outlive ctx, but logging in must not.
		clientCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		opened := context.AfterFunc(ctx, cancel)
		etcd := clientv3.Config{
			Context:              clientCtx,
			Endpoints:            cfg.Endpoints,
			TLS:                  tlsConfig,
			DialTimeout:          requestTimeout,
			DialKeepAliveTime:    5 * time.Second,
			DialKeepAliveTimeout: 3 * time.Second,
			Logger:               zap.NewNop(),
			DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           grpcbackoff.Config{BaseDelay: retryMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: retryMax},
				MinConnectTimeout: connectTimeout,
			})},
		}
		if cfg.User != "" {
			etcd.DialOptions = append(etcd.DialOptions, grpc.WithChainUnaryInterceptor(loginApart(etcd)))
			etcd.Username, etcd.Password = cfg.User, cfg.Password
		}
		c, err := clientv3.New(etcd)
		if !opened() && err == nil {
			_ = c.Close()
			err = ctx.Err()
		}
		if err != nil {
			cancel()
		}
		if errors.Is(err, rpctypes.ErrAuthFailed) || errors.Is(err, rpctypes.ErrAuthNotEnabled) {
			return nil, backoff.Permanent(err)
		}
		if err != nil && !said {
			said = true
			logger.Warn("etcd does not answer; retrying", "endpoints", cfg.Endpoints, "err", err)
		}
		return c, err
	}
	c, err := backoff.Retry(ctx, open, backoff.WithBackOff(newBackoff()), backoff.WithMaxElapsedTime(0))
	if err != nil {
		return nil, fmt.Errorf("open etcd at %v: %w", cfg.Endpoints, err)
	}
	return &Client{c: c}, nil
}

// Close ends the connection and everything that runs on it.
func (c *Client) Close() error { return c.c.Close() }

// loginApart makes the client log in over a connection that nobody is logged in to.
// With its own connection goes the token of before, and once that has expired etcd
// 3.4 refuses even the login for it; the client would ask again without a pause.
func loginApart(cfg clientv3.Config) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if method != etcdserverpb.Auth_Authenticate_FullMethodName {
			return invoke(ctx, method, req, reply, cc, opts...)
		}
		apart, err := clientv3.New(cfg)
		if err != nil {
			return err
		}
		defer apart.Close()
		return apart.ActiveConnection().Invoke(ctx, method, req, reply, opts...)
	}
}

// tls reads the certificates once, so that a wrong file is an error at the start.
func (cfg Config) tls() (*tls.Config, error) {
	if cfg.CACert == "" && cfg.Cert == "" && cfg.Key == "" {
		return nil, nil
	}
	info := transport.TLSInfo{CertFile: cfg.Cert, KeyFile: cfg.Key, TrustedCAFile: cfg.CACert, Logger: zap.NewNop()}
	t, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("etcd certificates: %w", err)
	}
	if cfg.CACert != "" && t.RootCAs.Equal(x509.NewCertPool()) {
		return nil, fmt.Errorf("etcd certificates: %s holds no certificate", cfg.CACert)
	}
	return t, nil
}

// newBackoff waits from a tenth of a second up to about half a second, for ever.
func newBackoff() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = retryMin, retryMax
	return b
}
