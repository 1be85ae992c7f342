package main

import (
	"strings"
	"testing"
	"time"
)

func TestTotals(t *testing.T) {
	for _, tt := range []struct {
		name, in, want string
		good           bool
	}{
		{
			name: "passed",
			in: `{"Action":"run","Package":"m/a","Test":"TestX"}
{"Action":"output","Package":"m/a","Test":"TestX","Output":"=== RUN TestX\n"}
{"Action":"pass","Package":"m/a","Test":"TestX/sub"}
{"Action":"pass","Package":"m/a","Test":"TestX"}
{"Action":"pass","Package":"m/a","Elapsed":1.25}
{"Action":"skip","Package":"m/notests"}`,
			want: "ok       1.25 s  m/a\n2 tests passed, 0 failed, 0 skipped, in 1 packages and 3 s\n",
			good: true,
		}, {
			name: "a test fails",
			in: `{"Action":"output","Package":"m/a","Test":"TestX","Output":"    x_test.go:1: boo\n"}
{"Action":"fail","Package":"m/a","Test":"TestX"}
{"Action":"output","Package":"m/a","Output":"FAIL\n"}
{"Action":"fail","Package":"m/a","Elapsed":1}`,
			want: "    x_test.go:1: boo\nFAIL\nFAIL     1.00 s  m/a\nfailed:  m/a TestX\n0 tests passed, 1 failed, 0 skipped, in 1 packages and 3 s\n",
		}, {
			name: "a test hangs until the package is killed",
			in: `{"Action":"output","Package":"m/a","Test":"TestX","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"m/a","Elapsed":1}`,
			want: "panic: test timed out\nFAIL     1.00 s  m/a\nfailed:  m/a\n0 tests passed, 1 failed, 0 skipped, in 1 packages and 3 s\n",
		}, {
			name: "a package does not build",
			in: `{"ImportPath":"m/b","Action":"build-output","Output":"b.go:1: undefined: x\n"}
{"ImportPath":"m/b","Action":"build-fail"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a [build failed]\n"}
{"Action":"fail","Package":"m/a","FailedBuild":"m/b"}`,
			want: "FAIL\tm/a [build failed]\nb.go:1: undefined: x\nFAIL     0.00 s  m/a\nfailed:  m/a\n0 tests passed, 1 failed, 0 skipped, in 1 packages and 3 s\n",
		}, {
			name: "a test is skipped",
			in: `{"Action":"output","Package":"m/a","Test":"TestX","Output":"    no nginx\n"}
{"Action":"skip","Package":"m/a","Test":"TestX"}
{"Action":"pass","Package":"m/a"}`,
			want: "    no nginx\nok       0.00 s  m/a\nskipped: m/a TestX (nothing may be skipped)\n0 tests passed, 0 failed, 1 skipped, in 1 packages and 3 s\n",
		}, {
			name: "go says something, nothing ran",
			in:   "go: go.mod file not found",
			want: "go: go.mod file not found\n0 tests passed, 0 failed, 0 skipped, in 0 packages and 3 s\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			r, err := read(strings.NewReader(tt.in), &out)
			if err != nil {
				t.Fatal(err)
			}
			r.print(&out, 3*time.Second)
			if out.String() != tt.want {
				t.Errorf("got\n%s\nwant\n%s", out.String(), tt.want)
			}
			if r.good() != tt.good {
				t.Errorf("good is %v, want %v", r.good(), tt.good)
			}
		})
	}
}
