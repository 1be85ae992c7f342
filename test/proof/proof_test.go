package main

import (
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"rollcall/test/loadgen"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string // in the error; none if empty
	}{
		"defaults":        {nil, ""},
		"stray argument":  {[]string{"--rate", "500", "now"}, `unexpected argument "now"`},
		"no replacements": {[]string{"--replacements", "0"}, "--replacements have to be at least 1"},
		"too slow":        {[]string{"--rate", "50"}, "--rate 50 is not from 100"},
		"no rest":         {[]string{"--rest", "0"}, "--rest 0s is less than a second"},
		"unknown flag":    {[]string{"--speed", "1"}, "not defined: -speed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parse(tt.args, io.Discard)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := parse([]string{"--help"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help gives %v, want %v", err, flag.ErrHelp)
	}
}

// The report says what was lost, of which kind, and behind whom.
func TestReport(t *testing.T) {
	made := func(failed int64) *part {
		p := &part{took: time.Minute, servers: make([]deeds, 3), confirmed: 3}
		p.replacements = []time.Duration{3 * time.Second, time.Second, 2 * time.Second}
		for range titles() {
			var r loadgen.Result
			r.Counts[loadgen.OK] = 1_234_567
			p.clients = append(p.clients, r)
		}
		p.clients[1].Counts[loadgen.Cut] = failed
		return p
	}
	tests := map[string]struct {
		proof    *proof
		has, not []string
	}{
		"nothing lost": {
			&proof{rest: made(0), deploys: made(0)},
			[]string{
				"No request was lost through 3 replacements in 1m0s", "| requests sent | 1,234,567 | 1,234,567 | 1,234,567 |",
				"| **lost** | 0 | 0 | 0 |", "took 2s in the median, 3s at most",
			},
			[]string{"lost: ", "nobody waits", "First failures"},
		},
		"some lost": {
			&proof{rest: made(0), deploys: made(7), abruptly: made(9), lost: 7},
			[]string{
				"**7 requests were lost** through", "| **lost** | 0 | 7 | 0 |", "| lost: answer broke off | 0 | 7 | 0 |",
				"while nobody waits", "| **lost** | 0 | 9 | 0 |",
			},
			[]string{"No request was lost"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			text, err := tt.proof.report()
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range tt.has {
				if !strings.Contains(string(text), s) {
					t.Errorf("the report does not say %q:\n%s", s, text)
				}
			}
			for _, s := range tt.not {
				if strings.Contains(string(text), s) {
					t.Errorf("the report says %q", s)
				}
			}
		})
	}
}
