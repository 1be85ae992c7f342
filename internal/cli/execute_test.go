package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every way of calling the program wrongly, and all that it says about it.
func TestUsage(t *testing.T) {
	const see = "see 'render nginx --help'\n"
	for _, tc := range []struct {
		args string
		env  map[string]string
		want string
	}{
		{"nginx --servce web", nil, "render nginx: --servce: unknown flag\n   hint: did you mean --service?\n" + see},
		{"nginx --servce=web", nil, "render nginx: --servce: unknown flag\n   hint: did you mean --service?\n" + see},
		{"nginx --ednpoints http://a:1", nil, "render nginx: --ednpoints: unknown flag\n   hint: did you mean --endpoints?\n" + see},
		{"nginx --onetime", nil, "render nginx: --onetime: unknown flag\n" + see},
		{"nginx -service web", nil, "render nginx: -service: unknown flag\n   hint: did you mean --service?\n" + see},
		{"nginx -ox", nil, "render nginx: -x: unknown flag\n" + see},
		{"nginx --=x", nil, "render nginx: bad flag syntax: --=x\n" + see},
		{"nginx --listen", nil, "render nginx: --listen: needs a value\n" + see},
		{"nginx -l", nil, "render nginx: --listen: needs a value\n" + see},
		{"nginx --min-wait 5", nil, "render nginx: --min-wait: \"5\" is not a duration\n   hint: write a number and a unit: 500ms, 15s, 5m\n" + see},
		{"nginx --once=maybe", nil, "render nginx: --once: \"maybe\" is not true or false\n   hint: the flag alone means true; --once=false turns it off\n" + see},
		{"nginx --retries many", nil, "render nginx: --retries: \"many\" is not a whole number\n" + see},
		{"nginx --max-loss -1", nil, "render nginx: --max-loss: \"-1\" is not a whole number, zero or more\n" + see},
		{"nginx --max-loss 70000", nil, "render nginx: --max-loss: \"70000\" is not a whole number, zero or more in range\n" + see},
		{"nginx --label x", nil, "render nginx: --label: x must be formatted as key=value\n" + see},
		{"nginx --retries " + strings.Repeat("x", 100), nil, "render nginx: --retries: \"" + strings.Repeat("x", 80) + "\"… is not a whole number\n" + see},
		{"nginx --listen 80", nil, "render nginx: --listen: \"80\" is not an address\n   hint: write \":80\" or \"127.0.0.1:80\"\n" + see},
		{"nginx", map[string]string{"RENDER_ONCE": "maybe"}, "render nginx: RENDER_ONCE: \"maybe\" is not true or false\n   hint: write true or false\n" + see},
		{"nginx", map[string]string{"RENDER_LABEL": "a=b,x"}, "render nginx: RENDER_LABEL: x must be formatted as key=value\n" + see},

		// Everything at once, each once, and nothing that follows from reading the line twice.
		{
			"nginx --service a --min-wait 5 --servce x --service b --listen 80 -x --retries many --max-loss",
			map[string]string{"RENDER_ONCE": "maybe", "ETCDCTL_USER": "root"},
			`render nginx: 8 mistakes:
  --servce: unknown flag
     hint: did you mean --service?
  -x: unknown flag
  --min-wait: "5" is not a duration
     hint: write a number and a unit: 500ms, 15s, 5m
  --retries: "many" is not a whole number
  --max-loss: needs a value
  RENDER_ONCE: "maybe" is not true or false
     hint: write true or false
  --user: the password is missing
     hint: set ETCDCTL_PASSWORD in the environment
  --listen: "80" is not an address
     hint: write ":80" or "127.0.0.1:80"
` + see,
		},
		{"nginx --nope --service a --service a", nil, "render nginx: 2 mistakes:\n  --nope: unknown flag\n  --service: a is given twice\n" + see},
		{"nginx --nope --nope", nil, "render nginx: --nope: unknown flag\n" + see},
		// Arguments that only look like flags are not.
		{"nginx --nope -- --neither", nil, "render nginx: --nope: unknown flag\n" + see},
		{"nginx --nope x --set --listen -lq:1 - -o=true", nil, "render nginx: --nope: unknown flag\n" + see},

		{"ngnix", nil, "render: \"ngnix\": unknown command\n   hint: did you mean nginx?\nsee 'render --help'\n"},
		{"docker", nil, "render: \"docker\": unknown command\nsee 'render --help'\n"},
		{"--nope", nil, "render: --nope: unknown flag\nsee 'render --help'\n"},
		{"status web", nil, "render status: \"web\": unknown command\nsee 'render status --help'\n"},
		{"fail", nil, "render fail: accepts 1 arg(s), received 0\nsee 'render fail --help'\n"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			got := run(t, tc.env, strings.Fields(tc.args)...)
			if diff := cmp.Diff(tc.want, got.stderr); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
			if got.code != ExitUsage || got.ran != "" || got.stdout != "" {
				t.Errorf("code %d, ran %q, printed %q; want code %d and nothing", got.code, got.ran, got.stdout, ExitUsage)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	for _, tc := range []struct {
		args             string
		code             int
		ran, out, stderr string
	}{
		{"nginx --once a -- --b", ExitOK, "nginx a --b", "", ""},
		{"status", ExitOK, "status", "", ""},
		{"fail badly", ExitFailure, "", "", "render fail: connect etcd: connection refused\n"},
		{"fail exit", 7, "", "", "render fail: refused\n"},
		{"fail silent", 9, "", "", ""},
		{"fail mistake", ExitUsage, "", "", "render fail: --template: no such file\n   hint: write a path\nsee 'render fail --help'\n"},
		{"nginx --help", ExitOK, "", "Usage:", ""},
		{"", ExitOK, "", "Usage:", ""},
	} {
		t.Run(tc.args, func(t *testing.T) {
			got := run(t, nil, strings.Fields(tc.args)...)
			if got.code != tc.code || got.ran != tc.ran || got.stderr != tc.stderr {
				t.Errorf("got code %d, ran %q, stderr %q; want %d, %q, %q", got.code, got.ran, got.stderr, tc.code, tc.ran, tc.stderr)
			}
			if (tc.out == "") != (got.stdout == "") || !strings.Contains(got.stdout, tc.out) {
				t.Errorf("printed %q, want %q in it", got.stdout, tc.out)
			}
		})
	}
}

// Nil must not make cobra read the test binary's own arguments.
func TestExecuteWithoutArguments(t *testing.T) {
	if got := run(t, nil); got.code != ExitOK || !strings.Contains(got.stdout, "Usage:") {
		t.Errorf("got code %d, printed %q; want the help", got.code, got.stdout)
	}
}

func TestExitError(t *testing.T) {
	refused := errors.New("refused")
	if got := (&ExitError{Code: 3}).Error(); got != "exit code 3" {
		t.Errorf("got %q, want exit code 3", got)
	}
	if err := (&ExitError{Code: 3, Err: refused}); err.Error() != "refused" || !errors.Is(err, refused) {
		t.Errorf("got %v, want refused", err)
	}
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"listen", "listen", 0},
		{"lsiten", "listen", 2},
		{"servce", "service", 1},
		{"services", "service", 1},
		{"kitten", "sitting", 3},
		{"abc", "xyz", 3},
	} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}
