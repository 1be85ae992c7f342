package etcd

import (
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// A link is a wire to a server that can swallow the answers: what was asked is
// done, but who asked does not learn of it.
type link struct {
	url   string
	heard atomic.Int64 // bytes of answers

	mu      sync.Mutex
	mute    bool
	down    bool
	unmuted *sync.Cond
	conns   []net.Conn
}

func newLink(t *testing.T, s *Server) *link {
	t.Helper()
	return newLinkTo(t, s.Endpoints()[0])
}

func newLinkTo(t testing.TB, server string) *link {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{url: "http://" + l.Addr().String()}
	k.unmuted = sync.NewCond(&k.mu)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target.Host)
			if err == nil && k.isDown() {
				_ = far.Close()
				err = net.ErrClosed
			}
			if err != nil {
				_ = near.Close()
				continue
			}
			k.mu.Lock()
			k.conns = append(k.conns, near, far)
			k.mu.Unlock()
			wg.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
			wg.Go(func() { _, _ = io.Copy(hearing{k, near}, far); _ = near.Close() })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		k.cut()
		k.setMute(false)
		wg.Wait()
	})
	return k
}

// setMute holds the server's answers back, or lets them go.
func (k *link) setMute(mute bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mute = mute
	k.unmuted.Broadcast()
}

// setDown breaks all connections and keeps new ones from being made, or lets them.
func (k *link) setDown(down bool) {
	k.mu.Lock()
	k.down = down
	k.mu.Unlock()
	if down {
		k.cut()
	}
}

func (k *link) isDown() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.down
}

// cut breaks all connections; new ones may be made.
func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.conns {
		_ = c.Close()
	}
	k.conns = nil
}

// hearing is the near end, as the answers reach it.
type hearing struct {
	k    *link
	conn net.Conn
}

func (h hearing) Write(p []byte) (int, error) {
	h.k.mu.Lock()
	for h.k.mute {
		h.k.unmuted.Wait()
	}
	h.k.mu.Unlock()
	h.k.heard.Add(int64(len(p)))
	return h.conn.Write(p)
}
