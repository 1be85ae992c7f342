package reload

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rollcall/test/ports"

	"github.com/google/go-cmp/cmp"
)

// keyPair writes a certificate and its key.
func keyPair(t testing.TB, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	return cert, key
}

// tls gives a virtual host that needs the certificate and the key.
func (f *fixture) tls(cert, key, more string) string {
	address := ports.Address(f.t)
	return fmt.Sprintf("LoadModule socache_shmcb_module %[1]s/mod_socache_shmcb.so\nLoadModule ssl_module %[1]s/mod_ssl.so\n"+
		"SSLSessionCache \"shmcb:%[2]s/ssl_scache(512000)\"\n%[6]s\n"+
		"Listen %[3]s\n<VirtualHost %[3]s>\nErrorLog %[2]s/tls.log\nSSLEngine on\nSSLCertificateFile %[4]s\nSSLCertificateKeyFile %[5]s\n</VirtualHost>\n",
		modules(f.program), f.dir, address, cert, key, more)
}

// passphrase gives a key the form in which it asks for one.
func passphrase(t testing.TB, key string) string {
	t.Helper()
	locked := key + ".locked"
	if out, err := exec.Command("openssl", "pkcs8", "-topk8", "-in", key, "-out", locked, "-passout", "pass:secret").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return locked
}

// A graceful restart would be the end of the server for each of these.
func TestWhatWouldKillApacheIsRefused(t *testing.T) {
	tests := []struct {
		name    string
		extra   func(f *fixture) string
		output  string
		checked bool // apache2 -t sees it
	}{
		{
			name: "certificate of another key", output: "do not match",
			extra: func(f *fixture) string {
				cert, _ := keyPair(f.t, f.dir, "one")
				_, key := keyPair(f.t, f.dir, "other")
				return f.tls(cert, key, "")
			},
		},
		{
			name: "certificate that is none", output: "junk.crt",
			extra: func(f *fixture) string {
				cert, key := keyPair(f.t, f.dir, "junk")
				write(f.t, cert, "junk\n")
				return f.tls(cert, key, "")
			},
		},
		{
			name: "key with a passphrase that nobody types", output: "pass phrase",
			extra: func(f *fixture) string {
				cert, key := keyPair(f.t, f.dir, "locked")
				return f.tls(cert, passphrase(f.t, key), "")
			},
		},
		{
			name: "logger that is not there", output: "piped log program",
			extra: func(*fixture) string { return "CustomLog \"||/nonexistent/logger\" common\n" },
		},
		{
			name: "missing directory of an error log", output: "/missing/", checked: true,
			extra: func(f *fixture) string { return "ErrorLog " + f.dir + "/missing/error.log\n" },
		},
		{
			name: "missing directory of an access log", output: "/missing/", checked: true,
			extra: func(f *fixture) string { return "CustomLog " + f.dir + "/missing/access.log common\n" },
		},
		{
			name: "module that does not load", output: "Cannot load", checked: true,
			extra: func(f *fixture) string { return "LoadModule none_module " + f.dir + "/mod_none.so\n" },
		},
	}
	f := newFixture(t, "apache")
	tx, s := f.transaction()
	f.apply(tx, "g0")
	cert, key := keyPair(t, f.dir, "good")
	f.extra = f.tls(cert, key, "")
	good := f.extra
	f.apply(tx, "g1")
	before, _ := s.Process()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.t, f.extra = t, tt.extra(f)
			began := time.Now()
			_, err := tx.Apply(t.Context(), f.candidate("g2"))
			e, ok := errors.AsType[*StepError](err)
			if !ok || e.Step != StepValidate || !strings.Contains(e.Output, tt.output) || strings.Contains(e.Output, hidden) {
				t.Errorf("got %v, output %q; want %q in it", err, outputOf(err), tt.output)
			}
			if tried := strings.Contains(fmt.Sprint(err), "trial start of "+f.main); tried == tt.checked {
				t.Errorf("refused by the trial: %t (%v)", tried, err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
			if now, _ := s.Process(); now != before {
				t.Errorf("another server: %v, before %v", now, before)
			}
			f.serves("g1")
			noLeftovers(t, f.dir)
		})
	}
	f.t, f.extra = t, good
	f.apply(tx, "g3")
	f.serves("g3")
}

// wordsOf gives what the server had to say to a driver's error.
func wordsOf(err error) string {
	if said, ok := errors.AsType[*ServerError](err); ok {
		return said.Output
	}
	return ""
}

func TestTrialTouchesNothingOfTheRunningServer(t *testing.T) {
	f := newFixture(t, "apache")
	cert, key := keyPair(t, f.dir, "good")
	f.extra = f.tls(cert, key, "ScoreBoardFile "+f.dir+"/scoreboard\nMutex file:"+f.dir+" default OmitPID") +
		fmt.Sprintf("LoadModule slotmem_shm_module %[1]s/mod_slotmem_shm.so\nLoadModule proxy_balancer_module %[1]s/mod_proxy_balancer.so\nLoadModule lbmethod_byrequests_module %[1]s/mod_lbmethod_byrequests.so\n<Proxy balancer://b>\nBalancerMember http://127.0.0.1:1\n</Proxy>\nProxyPass /b balancer://b\n", modules(f.program))
	tx, s := f.transaction()
	f.apply(tx, "g1")
	look := func() map[string]string {
		t.Helper()
		got := tree(t, f.dir)
		entries, err := os.ReadDir(f.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil {
				got[e.Name()] = fmt.Sprint(info.Sys().(*syscall.Stat_t).Ino, " ", info.Size())
			}
		}
		return got
	}
	before := look()
	master, _ := s.Process()
	// A scoreboard of the same name would take the place of the running server's.
	shared := func() (names []string) {
		t.Helper()
		for line := range strings.Lines(contents(t, procPath(master.Pid, "maps"))) {
			if at := strings.Index(line, "/dev/shm/"); at > 0 {
				names = append(names, line[at:])
			}
		}
		return names
	}
	mapped := shared()
	if len(mapped) == 0 {
		t.Fatal("the running server shares no memory by name")
	}
	var mine []Process
	for range 3 {
		staged := Staged{Generation: "g1", Files: []StagedFile{{Path: f.main, Staged: f.main}}}
		if err := f.proxy(s).Validate(t.Context(), staged); err != nil {
			t.Fatalf("%v\n%s", err, wordsOf(err))
		}
		mine = processes(func(p stat) bool { return p.pgid != 0 && strings.Contains(p.title(), filepath.Join(f.dir, hidden)) })
	}
	if len(mine) > 0 {
		t.Errorf("still running: %v", mine)
	}
	if diff := cmp.Diff(before, look()); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(mapped, shared()); diff != "" {
		t.Errorf("shared memory (-before +after):\n%s", diff)
	}
	if now, _ := s.Process(); now != master {
		t.Errorf("another server: %v, before %v", now, master)
	}
	f.serves("g1")
}

func TestTrialOfSomebodyElsesConfiguration(t *testing.T) {
	f := newFixture(t, "apache")
	path := f.asFragment("conf.d/*.conf")
	// Their own Listen, in a file which is not ours, is in use by the running server.
	write(t, filepath.Join(filepath.Dir(path), "b.conf"), "<IfModule !none_module>\n  listen "+f.listen+"\n</IfModule>\n")
	site := func(generation string) string {
		return strings.Replace(f.site(generation), "Listen "+f.listen+"\n", "", 1)
	}
	write(t, path, site("g1"))
	s, _ := f.supervise()
	a := f.proxy(s)
	eventually(t, "the server serves", func() bool { got, _ := get(t.Context(), "http://"+f.listen+"/"); return got == "g1" })
	staged := filepath.Join(f.dir, ".rollcall-x.staged")
	validate := func(content string) error {
		write(t, staged, content)
		return a.Validate(t.Context(), Staged{Generation: "g2", Files: []StagedFile{{Path: path, Staged: staged}}})
	}
	if err := validate(site("g2")); err != nil {
		t.Errorf("%v\n%s", err, wordsOf(err))
	}
	if err := validate("# nobody tells a generation\n"); err != nil {
		t.Errorf("without a control endpoint: %v\n%s", err, wordsOf(err))
	}
	cert, _ := keyPair(t, f.dir, "one")
	_, key := keyPair(t, f.dir, "other")
	if err := validate(site("g2") + f.tls(cert, key, "")); err == nil || !strings.Contains(wordsOf(err), "do not match") {
		t.Errorf("with another key: %v\n%s", err, wordsOf(err))
	}
	f.serves("g1")

	// Copies of their files lie elsewhere, and are spoken of by the names that people know.
	write(t, filepath.Join(filepath.Dir(path), "b.conf"), "Listen "+f.listen+"\nNonsense\n")
	if err := a.(*Apache).tryOnce(t.Context(), f.dir, Staged{Generation: "g2", Files: []StagedFile{{Path: path, Staged: staged}}}); !strings.Contains(wordsOf(err), "line 2 of "+filepath.Join(filepath.Dir(path), "b.conf")) {
		t.Errorf("got %v\n%s", err, wordsOf(err))
	}
}

func TestTrialCannotMoveWhatItCannotFind(t *testing.T) {
	f := newFixture(t, "apache")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	write(t, filepath.Join(f.dir, "ports.conf"), "Listen "+taken.Addr().String()+"\n")
	write(t, f.main, string(f.config("g1"))+"Define WHERE "+f.dir+"\nInclude ${WHERE}/ports.conf\n")
	err = f.proxy(PidFile{}).Validate(t.Context(), Staged{Generation: "g1", Files: []StagedFile{{Path: f.main, Staged: f.main}}})
	if err == nil || !strings.Contains(err.Error(), "hint") || !strings.Contains(wordsOf(err), taken.Addr().String()) {
		t.Errorf("got %v\n%s", err, wordsOf(err))
	}
}

func TestTrialThatHangsIsKilled(t *testing.T) {
	f := newFixture(t, "apache")
	cert, key := keyPair(t, f.dir, "locked")
	pid := filepath.Join(f.dir, "pid-of-dialog")
	dialog := sh(t, f.dir, "dialog", `trap '' TERM; echo $$ >`+pid+`; while :; do sleep 1; done`)
	f.extra = f.tls(cert, passphrase(t, key), "SSLPassPhraseDialog exec:"+dialog)
	tx, _ := f.transaction()
	tx.timeouts.Validate = 700 * time.Millisecond
	_, err := tx.Apply(t.Context(), f.candidate("g1"))
	if e, ok := errors.AsType[*StepError](err); !ok || e.Step != StepValidate || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	var n int
	if _, err := fmt.Sscan(contents(t, pid), &n); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the dialog is gone", func() bool { _, ok := findProcess(n); return !ok })
	noLeftovers(t, f.dir)
}

func TestTrialThatOutlivedItsRenderIsEnded(t *testing.T) {
	f := newFixture(t, "apache")
	write(t, f.main, string(f.config("g1")))
	staged := Staged{Generation: "g1", Files: []StagedFile{{Path: f.main, Staged: f.main}}}
	// As a render leaves it that is killed during a trial.
	w := newWhole(apacheDialect(f.dir), f.main, staged)
	left := &trial{w: w, dir: filepath.Join(f.dir, w.mark+"trial")}
	copied := filepath.Join(f.dir, w.mark+"0=apache.conf")
	write(t, copied, strings.ReplaceAll(string(f.config("g1")), "127.0.0.1:", "127.0.0.2:"))
	if err := os.Mkdir(left.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	argv := append(left.argv(f.program, copied), "-DFOREGROUND")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	eventually(t, "it runs", func() bool { _, ok := ApachePidFile(left.pidFile()).Process(); return ok })
	if err := f.proxy(PidFile{}).Validate(t.Context(), staged); err != nil {
		t.Errorf("%v\n%s", err, wordsOf(err))
	}
	select {
	case <-ended:
	default:
		t.Error("it still runs")
		killGroup(cmd.Process.Pid, ended)
	}
	noLeftovers(t, f.dir)
}

func TestTrialWhereOnlyCommandsReach(t *testing.T) {
	f := newFixture(t, "apache")
	write(t, f.main, string(f.config("g1")))
	a, err := NewApache(ApacheConfig{Main: f.main, Control: f.control, Program: f.program, Master: PidFile{}, Run: Run})
	if err != nil {
		t.Fatal(err)
	}
	staged := Staged{Generation: "g1", Files: []StagedFile{{Path: f.main, Staged: f.main}}}
	if err := a.Validate(t.Context(), staged); err != nil {
		t.Errorf("%v\n%s", err, wordsOf(err))
	}
	cert, _ := keyPair(t, f.dir, "one")
	_, key := keyPair(t, f.dir, "other")
	f.extra = f.tls(cert, key, "")
	write(t, f.main, string(f.config("g1")))
	if err := a.Validate(t.Context(), staged); err == nil || !strings.Contains(wordsOf(err), "do not match") {
		t.Errorf("with another key: %v\n%s", err, wordsOf(err))
	}
	noLeftovers(t, f.dir)
}

func TestTrialMovesAddresses(t *testing.T) {
	tests := []struct{ content, want string }{
		{"Listen 80\n<VirtualHost *:80>\n", "Listen HERE1\n<VirtualHost HERE1>\n"},
		{"# Listen 80\nListenBackLog 5\nLogLevel warn\n", "# Listen 80\nListenBackLog 5\nLogLevel warn\n"},
		{"\tlisten\t443\r\nLISTEN 8443 https\n", "Listen HERE1 https\nListen HERE2 https\n"},
		{"<VirtualHost 127.0.0.1:80 *:81>\nListen \"127.0.0.1:80\"\nListen 0.0.0.0:81", "<VirtualHost HERE1 HERE2>\nListen HERE1\nListen HERE2\n"},
		{"<VirtualHost _default_:443>\nListen 443\n", "<VirtualHost HERE1>\nListen HERE1 https\n"},
		{"<VirtualHost *>\n<VirtualHost 10.0.0.1>\n<VirtualHost *:*>\n<VirtualHost [::1]>\n", "<VirtualHost *>\n<VirtualHost 10.0.0.1>\n<VirtualHost *:*>\n<VirtualHost [::1]>\n"},
		{"Listen [::1]:80\n<VirtualHost [::1]:80>\n", "Listen SIX1\n<VirtualHost SIX1>\n"},
		{"Listen ${PORT}\n<VirtualHost *:${PORT}>\n", "Listen HERE1\n<VirtualHost HERE1>\n"},
		{"ErrorLog \"|/bin/logger\"\n  ErrorLog a.log\nScoreBoardFile x\n", "ErrorLog /dev/stderr\nErrorLog /dev/stderr\nScoreBoardFile \"/dir/mark-scoreboard\"\n"},
		{"Listen\n", "Listen\n"},
	}
	for _, tt := range tests {
		tr := &trial{w: &whole{mark: "mark-"}, dir: "/dir", moved: &movedPorts{to: map[string]string{}, listen: map[string]bool{}}}
		got := string(tr.edit([]byte(tt.content)))
		if tr.moved.err != nil {
			t.Fatal(tr.moved.err)
		}
		for i, l := range tr.moved.held {
			name := "HERE"
			if strings.HasPrefix(l.Addr().String(), "[") {
				name = "SIX"
			}
			got = strings.ReplaceAll(got, l.Addr().String(), fmt.Sprint(name, i+1))
		}
		tr.moved.release()
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.content, diff)
		}
	}
}
