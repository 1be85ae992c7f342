package units

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// found gives the findings, each as "line: message".
func found(name string, text string) []string {
	got := []string{}
	for _, f := range Check(Parse(name, []byte(text))) {
		got = append(got, fmt.Sprintf("%d: %s", f.Line, f.Message))
	}
	return got
}

// Each unit has one mistake, and each mistake one finding, with its line.
func TestFindings(t *testing.T) {
	for _, tc := range [][2]string{
		// fleet
		{
			"[X-Fleet]\nConditionMachineMetadata=a=b",
			"2: fleet ignores ConditionMachineMetadata=, and may start the unit anywhere",
		},
		{"[X-Fleet]\nmachineof=web@1.service", "2: fleet ignores machineof=, and may start the unit anywhere"},
		{"[X-Fleet]\n\nX-ConditionMachineOf=web@1.service", "3: X-ConditionMachineOf= is a legacy spelling"},
		{"[X-fleet]\nGlobal=true", "2: [X-fleet] is read by nobody"},
		{"[X-Fleet]\nGlobal=true\nMachineOf=web@%i.service", "3: fleet refuses MachineOf= in a Global unit"},
		{"[X-Fleet]\nReplaces=a.service\nGlobal=yes", "2: fleet refuses Replaces= in a Global unit"},
		{"[X-Fleet]\nMachineID=1f\nMachineMetadata=a=b", "3: fleet refuses MachineMetadata= beside MachineID="},
		{
			"[X-Fleet]\nConflicts=a@*.service\nReplaces=b@1.service",
			"3: fleet refuses Replaces= beside Conflicts=",
		},
		{
			"[X-Fleet]\nMachineOf=web@%i.service\nConflicts=*@*.service",
			"3: fleet refuses Conflicts=*@*.service, which matches the unit's own MachineOf=web@%i.service",
		},
		{"[X-Fleet]\nMachineMetadata=role", `2: fleet ignores "role", which is not KEY=VALUE`},
		{
			"[X-Fleet]\nConflicts=a.service b.service",
			`2: fleet takes "a.service b.service" for one value, blanks and all`,
		},
		{"[X-Fleet]\nMachineMetadata=host=%H", "2: fleet takes %H literally"},
		// lines
		{
			"[Service]\nExecStart=/bin/true " + strings.Repeat("x", 2030),
			"2: the line has 2050 bytes; fleet refuses more than 2048, and old systemds cut it off",
		},
		{
			"[Service]\nExecStart=/bin/true \\ \n# x",
			"2: there are blanks after the backslash, so that the next line is not part of this one",
		},
		{"Type=simple\n[Service]", "1: Type= stands before any section, and is ignored"},
		{
			"[Service\nType=simple",
			"1: \"[Service\" is no section|2: Type= stands before any section, and is ignored",
		},
		{"[Service]\nType simple", `2: "Type simple" is no assignment`},
		{"[Service]\nType=\xff", "2: the line is not valid UTF-8, and systemd ignores it"},
		// words
		{"[Service]\nExecStart=/bin/x \"a", `2: ExecStart= has a " without its end, and systemd ignores it`},
		{"[Service]\nExecStart=/bin/sed 's/\\./_/'", `2: systemd knows no escape \.`},
		{"[Service]\nExecStart=/bin/x 100%", `2: "%" is no specifier of systemd's`},
		{"[Service]\nExecStart=/bin/x %e-%i", `2: "%e-" is no specifier of systemd's`},
		{"[Service]\nExecStart=/bin/date +%F-%%m", `2: "%F-" is no specifier of systemd's`},
		{"[Service]\nExecStart=/bin/date +%m", "2: systemd replaces %m before the command sees it"},
		{
			"[Service]\nExecStart=/bin/x $NAME",
			"2: the value of $NAME is split at blanks, and is no word at all when it is empty",
		},
		{
			"[Service]\nExecStart=/usr/bin/docker run -p $IP:80:80 x",
			`2: systemd takes "IP:80:80" for a variable's name`,
		},
		{
			"[Service]\nExecStart=/bin/x --name=a-$NAME",
			"2: systemd leaves $NAME in the middle of a word as it is",
		},
		{"[Service]\nExecStart=/bin/x ${A:-b}", "2: systemd knows no ${A:-b}, and replaces it by nothing"},
		{
			"[Service]\nExecStart=/bin/sh -c 'for i in 1 2; do echo ${i}; done'",
			"2: systemd replaces ${i} before the shell sets it",
		},
		{
			"[Service]\nEnvironmentFile=/etc/environment",
			"2: the unit cannot start where /etc/environment is missing",
		},
		// docker
		{
			"[Service]\nExecStart=/usr/bin/docker run -d hello",
			"2: docker run in the background: systemd cannot tell when the container ends",
		},
		{
			"[Service]\nExecStart=/usr/bin/docker -H x run --rm --env -i \\\n -itd hello",
			"2: docker run in the background: systemd cannot tell when the container ends",
		},
		{
			"[Service]\nExecStart=/bin/sh -c 'sleep 1; exec docker run --detach=true x'",
			"2: docker run in the background: systemd cannot tell when the container ends",
		},
		{"[Service]\nExecStart=/usr/bin/docker run -rm hello", "2: docker run has no -rm: it exits with 125"},
		{
			"[Service]\nExecStartPre=/usr/bin/docker pull x\nExecStart=/bin/x",
			"2: docker pull fails the unit where no registry answers",
		},
		{
			"[Service]\nExecStartPre=/usr/bin/docker rm x\nExecStart=/bin/x",
			"2: docker rm fails the unit where there is no such container",
		},
		{
			"[Service]\nExecStart=/usr/bin/docker run --rm --name web-%i x",
			"2: the name web-%i is taken when a client was killed, and the container never starts again",
		},
		{
			"[Service]\nExecStartPre=-/usr/bin/docker rm a\nExecStart=/usr/bin/docker run --name=b x",
			"3: the name b is taken when a client was killed, and the container never starts again",
		},
		// times
		{
			"[Service]\nExecStart=/bin/sh -c \"while true; do etcdctl set /a b --ttl 45; sleep 45; done\"",
			"2: the record lives for 45s and is refreshed every 45s: it is gone in between",
		},
		{
			"[Service]\nExecStart=/bin/sh -c 'while curl -XPUT http://e/v2/keys/a -d value=b -d ttl=30; do sleep 1m; done'",
			"2: the record lives for 30s and is refreshed every 1m0s: it is gone in between",
		},
		{
			"[Service]\nExecStart=/usr/bin/docker run gliderlabs/registrator -ttl 30 -ttl-refresh 60 etcd://e",
			"2: the record lives for 30s and is refreshed every 1m0s: it is gone in between",
		},
		{
			"[Service]\nExecStart=/usr/bin/announce --drain-timeout 30s\nTimeoutStopSec=30",
			"3: systemd kills announce after 30s, and it waits for balancers for 30s",
		},
		{
			"[Service]\nExecStart=/usr/bin/announce --drain-timeout=2m",
			"2: systemd kills announce after 1m30s, and it waits for balancers for 2m0s",
		},
		{
			"[Service]\nType=notify\nTimeoutSec=1min\nTimeoutStopSec=infinity\nExecStart=/usr/bin/announce --wait-routed 60s",
			"3: systemd gives the start up after 1m0s, and announce waits for 1m0s",
		},
		{
			"[Service]\nExecStart=/usr/bin/announce --wait-routed 60s",
			"2: --wait-routed makes nobody wait without Type=notify",
		},
		{
			"[Service]\nExecStart=/bin/x\nExecStop=-/usr/bin/docker stop -t 100 x",
			"3: systemd kills docker stop after 1m30s, and it gives the container 1m40s",
		},
		// order
		{
			"[Unit]\nBindsTo=web@%i.service\nAfter=docker.service",
			"2: BindsTo=web@%i.service without After=: both start at once, and this may come first; when both stop, neither waits for the other",
		},
		{
			"[Unit]\nAfter=a.service\nRequires=a.service b.service",
			"3: Requires=b.service without After=: both start at once, and this may come first; when both stop, neither waits for the other",
		},
		{
			"[Unit]\nBindsTo=a.service\nAfter=a.service\n[Service]\nRestartKillSignal=SIGUSR1",
			"5: restarting what this is bound to restarts this too, which then leaves its record in etcd while the container is stopped",
		},
	} {
		text, want := tc[0], tc[1]
		if diff := cmp.Diff(strings.Split(want, "|"), found("x@.service", text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// What only looks like a mistake.
func TestNoFindings(t *testing.T) {
	for _, text := range []string{
		"",
		"\ufeff[Unit]\r\nDescription=a 100%% b\r\n; a comment = here\r\n[Service]\r\nExecStart=/bin/x \\\r\n# not the end\r\n  y\r\n",
		"[Unit]\nRequires=basic.target system.slice x.socket\nBindsTo=a.service\nBefore=a.service",
		"[Service]\nExecStart=/bin/x $OPTIONS $X_ARGS $$HOME ^a$ ${HOME} $${X:-y}\nEnvironment=A=%H CPUQuota=20%%\nCPUQuota=20%",
		"[Service]\nExecStart=:/bin/x $HOME ${A:-b}",
		"[Service]\nExecStartPre=-/usr/bin/docker rm -f a-%i\nExecStart=/usr/bin/docker run --rm --name a-%i -p 80:80 -e -d x haproxy -d -rm",
		"[Service]\nExecStart=/usr/bin/docker run --env A=-d --detach=false hello -d",
		"[Service]\nExecStartPre=/bin/sh -c 'docker rm -f a || true'\nExecStart=/usr/bin/docker run --name a x",
		"[Service]\nExecStart=/usr/bin/podman run --replace --name a x",
		"[Service]\nType=notify\nExecStart=/usr/bin/podman run --rm --sdnotify=conmon -d --replace --name a x",
		"[Service]\nExecStart=/usr/bin/docker run --name a x\nExecStopPost=-/usr/bin/docker rm -f a",
		"[Service]\nExecStart=/bin/x\nExecReload=/bin/kill -HUP $MAINPID",
		"[Service]\nExecStart=/bin/sh -c 'while etcdctl set /a \"$HOSTNAME\" --ttl 60; do sleep 20s; done'",
		"[Service]\nExecStart=/usr/bin/announce list\nTimeoutStopSec=5",
		"[Service]\nType=notify\nExecStart=/usr/bin/announce --wait-routed 30s\nTimeoutStopSec=1min 5s\nTimeoutStartSec=0",
		"[Unit]\nRequires=docker.service\nAfter=docker.service\n[Service]\nRestartKillSignal=SIGUSR1",
		"[X-Fleet]\nGlobal=false\nMachineOf=a.service\nMachineMetadata=\"a=b\" \"c=d\"\nMachineMetadata=balancer=%i",
		"[X-Fleet]\nMachineOf=web@%i.service\nConflicts=announce@*.service",
		"[Timer]\nOnCalendar=*-*-* 00:00:00",
	} {
		if got := found("x.service", text); len(got) > 0 {
			t.Errorf("%s\ngot %q", text, got)
		}
	}
}

// A sidekick that nothing starts again is found where its container's unit is there to see.
func TestSidekickComesBack(t *testing.T) {
	side := "[Unit]\nBindsTo=web@%i.service\nAfter=web@%i.service\n"
	for name, tc := range map[string]struct {
		side, main string
		want       int
	}{
		"no":                {side, "[Service]\nRestart=always", 1},
		"Wants":             {side, "[Unit]\nWants=a.service side@%i.service", 0},
		"Upholds":           {side, "[Unit]\nUpholds=side@%i.service", 0},
		"Wants another":     {side, "[Unit]\nWants=side.service", 1},
		"WantedBy":          {side + "[Install]\nWantedBy=web@%i.service", "[Service]\n", 0},
		"ordered there":     {"[Unit]\nBindsTo=web@%i.service", "[Unit]\nWants=side@%i.service\nBefore=side@%i.service", 0},
		"WantedBy another":  {side + "[Install]\nWantedBy=multi-user.target", "[Service]\n", 1},
		"Wants, taken back": {side, "[Unit]\nWants=side@%i.service\nWants=", 1},
	} {
		got := Check(Parse("side@.service", []byte(tc.side)), Parse("/x/web@.service", []byte(tc.main)))
		if len(got) != tc.want || tc.want > 0 && (got[0].Line != 2 || got[0].Hint != "Wants=side@%i.service in web@.service") {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if got := Check(Parse("side@.service", []byte(side))); len(got) > 0 {
		t.Errorf("without its container's unit: got %v", got)
	}
}

// A drop-in is part of its unit: what is missing in one may be in the other.
func TestDropIns(t *testing.T) {
	unit := Parse("/etc/web.service", []byte("[Unit]\nBindsTo=a.service\n"))
	after := Parse("/etc/web.service.d/order.conf", []byte("[Unit]\nAfter=a.service\n"))
	bound := Parse("/etc/other.service.d/x.conf", []byte("[Unit]\nBindsTo=a.service\n[Service]\nExecStart=/usr/bin/docker run --name a -d x"))
	if got := Check(after, unit); len(got) > 0 {
		t.Errorf("got %v", got)
	}
	if got := Check(unit); len(got) != 1 {
		t.Errorf("without the drop-in: got %v", got)
	}
	if got := Check(bound); len(got) != 1 || got[0].Line != 4 {
		t.Errorf("a drop-in alone: got %v", got)
	}
}

// The project's own units are beyond reproach.
func TestOwnUnits(t *testing.T) {
	paths, err := filepath.Glob("../../units/*.service")
	if err != nil || len(paths) < 2 {
		t.Fatalf("got %d units, %v", len(paths), err)
	}
	var files []*File
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, Parse(path, text))
	}
	for _, f := range Check(files...) {
		t.Error(f)
	}
}

func TestParseSpan(t *testing.T) {
	for text, want := range map[string]string{
		"90": "1m30s", "1min 30s": "1m30s", "2h": "2h0m0s", "500ms": "500ms",
		"1.5s": "1.5s", "x": "", "": "", "5 parsecs": "",
	} {
		got := ""
		if d, ok := parseSpan(text); ok {
			got = d.String()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
