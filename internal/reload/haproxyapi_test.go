package reload

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeAPI answers each connection by a function of its own.
func fakeAPI(t testing.TB, serve func(net.Conn)) (path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "rollcall-api-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "api.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return path
}

// until reads up to the end of the client's words, and of the connection.
func until(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func TestOddAnswersOfTheRuntimeAPI(t *testing.T) {
	for name, tt := range map[string]struct {
		answer, want string
	}{
		"nothing":           {"", "EOF"},
		"no prompt":         {"Name: HAProxy\n", "EOF"},
		"no process":        {"\n> Name: HAProxy\n\n> ", "does not tell"},
		"an odd process":    {"\n> Pid: -1\n\n> ", "does not tell"},
		"a refusal":         {"\n> Permission denied\n\n\n> ", "Permission denied"},
		"it is about to go": {"\n> Pid: 12\nStopping: 1\n\n> ", "stopping"},
		"more than asked":   {"\n> Pid: 12\nStopping: 0\n\n> what?", "more was answered"},
	} {
		path := fakeAPI(t, func(conn net.Conn) {
			_, _ = bufio.NewReader(conn).ReadString('\n')
			_, _ = io.WriteString(conn, tt.answer)
			_ = conn.(*net.UnixConn).CloseWrite()
			until(conn)
		})
		if a, err := dialAPI(t.Context(), path); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, %v; want %q", name, a, err, tt.want)
		}
	}
	if _, err := dialAPI(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no socket: got %v", err)
	}
}

func TestRuntimeAPIThatHangs(t *testing.T) {
	path := fakeAPI(t, until)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := dialAPI(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: got %v", err)
	}
	if _, err := dialAPI(t.Context(), path); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no deadline: got %v", err)
	}
	if took := time.Since(began); took < apiTimeout || took > 3*apiTimeout {
		t.Errorf("it took %s, want about %s", took, apiTimeout)
	}
}

// between gives a driver for the same server that finds someone between itself and the
// runtime API, who sees each command and may answer it himself.
func (f *haFixture) between(see func(command string) (answer string, own bool)) *HAProxy {
	f.t.Helper()
	proxy, err := NewHAProxy(HAProxyConfig{Main: f.main, Control: f.control, Members: f.relay(see), Master: f.master})
	if err != nil {
		f.t.Fatal(err)
	}
	return proxy
}

func (f *haFixture) relay(see func(command string) (answer string, own bool)) string {
	return fakeAPI(f.t, func(conn net.Conn) {
		real, err := net.Dial("unix", f.socket())
		if err != nil {
			f.t.Error(err)
			return
		}
		defer real.Close()
		from, lines := bufio.NewReader(real), bufio.NewScanner(conn)
		for lines.Scan() {
			if answer, own := see(lines.Text()); own {
				_, _ = io.WriteString(conn, answer+apiPrompt)
				continue
			}
			_, _ = io.WriteString(real, lines.Text()+"\n")
			var answer strings.Builder
			for !strings.HasSuffix(answer.String(), apiPrompt) {
				c, err := from.ReadByte()
				if err != nil {
					return
				}
				answer.WriteByte(c)
			}
			_, _ = io.WriteString(conn, answer.String())
		}
	})
}

// TestHAProxyThatCannot has answers of versions that lack what is asked, and of sockets
// that may not do it: only a reload would help.
func TestHAProxyThatCannot(t *testing.T) {
	a, b := newMember(t, "a"), newMember(t, "b")
	for name, answers := range map[string]map[string]string{
		"2.4": {
			"add server": "This command is restricted to experimental mode only.\n",
			"del server": "This command is restricted to experimental mode only.\n",
		},
		"2.3": {
			"add server": "Unknown command, but maybe one of the following ones is a better match:\n  add map\n",
			"del server": "Unknown command, but maybe one of the following ones is a better match:\n  del map\n",
		},
		"another level":         {"set server": "Permission denied\n", "add server": "Permission denied\n", "del server": "Permission denied\n"},
		"it adds, but not more": {"del server": "Permission denied\n"},
		"it does not delete a":  {"del server rollcall_web/a": "This server cannot be removed at runtime due to other configuration elements pointing to it.\n"},
		"a table it has not":    {"show servers state": "Unknown command"},
		"a table without names": {"show servers state": "1\n4 rollcall_web 1 a 127.0.0.1 2 0 1"},
		"another table":         {"show servers state": "2\n# be_id be_name\n4 rollcall_web\n"},
		"another process":       {"show info": "Pid: 1\nStopping: 0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newHAFixture(t, a.Member)
			proxy := f.between(func(command string) (string, bool) {
				for prefix, answer := range answers {
					if strings.HasPrefix(command, prefix) {
						return answer, true
					}
				}
				return "", false
			})
			for _, members := range [][]Member{{a.Member, b.Member}, {}} {
				if name == "it does not delete a" && len(members) > 0 {
					continue
				}
				want := Members{Structure: f.structure, Pools: []*Pool{f.pool(members...)}}
				if n, err := proxy.Sync(t.Context(), want, false); !errors.Is(err, ErrNeedsReload) {
					t.Errorf("%d members: got %d, %v; want ErrNeedsReload", len(members), n, err)
				}
			}
			if list := proxy.Leaving(); len(list) != 0 {
				t.Errorf("%d leave", len(list))
			}
			if name == "it does not delete a" {
				return
			}
			if got := f.answered(3); got != "a" {
				t.Errorf("answered by %q, want a, because nothing could be done", got)
			}
		})
	}
}
