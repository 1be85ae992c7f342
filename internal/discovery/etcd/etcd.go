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
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// requestTimeout bounds one unary request. Loops retry; a person sees an error.
	requestTimeout = 5 * time.Second

	// loginTimeout bounds how long the first login may hold up the start. etcd may take
	// a tenth of that for the password alone.
	loginTimeout = time.Second

	// A try to connect may take a second where etcd is far; the next follows soon.
	connectTimeout = time.Second
	retryMin       = 100 * time.Millisecond
	retryMax       = 300 * time.Millisecond
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

// Open prepares a client. It does not wait for a server: where a user is given and
// none answers within a second, the client logs in when one does. A wrong certificate
// file is an error at once, and so is a wrong user or password if etcd says so.
func Open(ctx context.Context, cfg Config, logger *slog.Logger) (*Client, error) {
	tlsConfig, err := cfg.tls()
	if err != nil {
		return nil, err
	}
	// The client must outlive ctx, but logging in must not.
	clientCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	opened := context.AfterFunc(ctx, cancel)
	etcd := clientv3.Config{
		Context:              clientCtx,
		Endpoints:            cfg.Endpoints,
		TLS:                  tlsConfig,
		DialTimeout:          loginTimeout,
		DialKeepAliveTime:    5 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		Logger:               zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           grpcbackoff.Config{BaseDelay: retryMin, Multiplier: 1.6, Jitter: 0.2, MaxDelay: retryMax},
			MinConnectTimeout: connectTimeout,
		})},
	}
	var opening atomic.Bool
	opening.Store(true)
	later := func(err error) bool {
		if opening.Load() {
			logger.Warn("etcd does not answer; logging in when it does", "endpoints", cfg.Endpoints, "err", err)
		}
		return opening.Load()
	}
	if cfg.User != "" {
		etcd.DialOptions = append(etcd.DialOptions, grpc.WithChainUnaryInterceptor(loginApart(etcd, later)))
		etcd.Username, etcd.Password = cfg.User, cfg.Password
	}
	c, err := clientv3.New(etcd)
	opening.Store(false)
	if !opened() && err == nil {
		_ = c.Close()
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open etcd at %v: %w", cfg.Endpoints, err)
	}
	return &Client{c: c}, nil
}

// Close ends the connection and everything that runs on it.
func (c *Client) Close() error { return c.c.Close() }

// loginApart makes the client log in over a connection that nobody is logged in to.
// With its own connection goes the token of before, and once that has expired etcd
// 3.4 refuses even the login for it; the client would ask again without a pause. A login
// that nobody answers counts as done if later says so: without a token the first
// request is refused, and then the client logs in.
func loginApart(cfg clientv3.Config, later func(error) bool) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if method != etcdserverpb.Auth_Authenticate_FullMethodName {
			return invoke(ctx, method, req, reply, cc, opts...)
		}
		apart, err := clientv3.New(cfg)
		if err != nil {
			return err
		}
		defer apart.Close()
		err = apart.ActiveConnection().Invoke(ctx, method, req, reply, opts...)
		if code := status.Code(err); (code == codes.Unavailable || code == codes.DeadlineExceeded) && later(err) {
			return nil
		}
		return err
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

// newBackoff waits from a tenth of a second up to less than half a second, for ever.
func newBackoff() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = retryMin, retryMax
	return b
}
