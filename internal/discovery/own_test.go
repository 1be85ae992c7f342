package discovery

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAcknowledgement(t *testing.T) {
	want := &Acknowledgement{
		ID: "core-01-nginx", Prefix: "/services", Services: []string{"web"}, Proxy: "nginx", Node: "core-01",
		Applied: 12, Drained: 11, Generation: "g7", Healthy: true, LastError: "nginx: [emerg] no\nsecond line",
	}
	if want.Key() != "/rollcall/renderers/core-01-nginx" {
		t.Errorf("Key = %s", want.Key())
	}
	value, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeAcknowledgement(want.Key(), []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// Zero revisions are written: a renderer that has not yet applied anything must be waited for.
	if value, _ := (&Acknowledgement{}).Encode(); !strings.Contains(value, `"applied":0,"finished":0,"drained":0`) {
		t.Errorf("Encode of a renderer that has just started: %s", value)
	}
}

func TestDecodeAcknowledgementRefuses(t *testing.T) {
	for _, tt := range []struct{ key, value string }{
		{"/rollcall/renderers/", "{}"},
		{"/rollcall/renderers", "{}"},
		{"/rollcall/renderers2/a", "{}"},
		{"/rollcall/drains/a", "{}"},
		{"/services/web/web1", "{}"},
		{"/rollcall/renderers/a/b", "{}"},
		{"/rollcall/renderers/a\nb", "{}"},
		{"/rollcall/renderers/a", ""},
		{"/rollcall/renderers/a", "[]"},
		{"/rollcall/renderers/a", `{"applied":"12"}`},
		{"/rollcall/renderers/a", `{"applied":1.5}`},
		{"/rollcall/renderers/a", `{"applied":99999999999999999999}`},
		{"/rollcall/renderers/a", `{"node":"a\u001b[2Jb"}`},
		{"/rollcall/renderers/a", `{"proxy":"a\nb"}`},
		{"/rollcall/renderers/a", `{"prefix":"` + strings.Repeat("a", maxRecord) + `"}`},
	} {
		if got, err := DecodeAcknowledgement(tt.key, []byte(tt.value)); err == nil {
			t.Errorf("DecodeAcknowledgement(%q, %.80q) = %+v, want an error", tt.key, tt.value, got)
		}
	}
	if got, err := DecodeAcknowledgement("/rollcall/renderers/a", []byte(`{"id":"b","ID":"c","new":1}`)); err != nil || got.ID != "a" {
		t.Errorf("got %+v, %v: the id is the key's, unknown fields are ignored", got, err)
	}
}

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		services        []string
		prefix, service string
		want            bool
	}{
		{nil, "/services", "web", true},
		{nil, "/services2", "web", false},
		{nil, "/service", "web", false},
		{[]string{"web", "api"}, "/services", "api", true},
		{[]string{"web", "api"}, "/services", "ap", false},
		{[]string{"web"}, "/other", "web", false},
	} {
		a := Acknowledgement{Prefix: "/services", Services: tt.services}
		if got := a.Covers(tt.prefix, tt.service); got != tt.want {
			t.Errorf("%v covers %s of %s: %v, want %v", tt.services, tt.service, tt.prefix, got, tt.want)
		}
	}
}

func TestParseID(t *testing.T) {
	for id, want := range map[string][2]string{
		"web/web1": {"web", "web1"}, "web/core-01:web1:80": {"web", "core-01:web1:80"}, "web.v2/1": {"web.v2", "1"},
	} {
		service, name, err := ParseID(id)
		if err != nil || [2]string{service, name} != want {
			t.Errorf("ParseID(%q) = %q, %q, %v", id, service, name, err)
		}
		key := DrainKey(service, name)
		if key != "/rollcall/drains/"+id {
			t.Errorf("DrainKey = %s", key)
		}
		if got, ok := ParseDrainKey(key); !ok || got != id {
			t.Errorf("ParseDrainKey(%q) = %q, %v", key, got, ok)
		}
	}
	refused := []string{"", "/", "web", "web/", "/web1", "web/web1/", "web/web1/port", "//", "/web/web1", "web/../x", "we:b/web1", "Web/web1", "web/Web1"}
	for _, name := range hostile {
		refused = append(refused, name+"/web1", "web/"+name)
	}
	for _, id := range refused {
		if service, name, err := ParseID(id); err == nil {
			t.Errorf("ParseID(%q) = %q, %q, want an error", id, service, name)
		} else {
			checkReason(t, id, err.Error())
		}
		if _, ok := ParseDrainKey("/rollcall/drains/" + id); ok {
			t.Errorf("ParseDrainKey takes %q", id)
		}
	}
	for _, key := range []string{"web/web1", "/rollcall/drains", "/rollcall/drains2/web/web1", "/rollcall/renderers/web/web1"} {
		if id, ok := ParseDrainKey(key); ok {
			t.Errorf("ParseDrainKey(%q) = %q", key, id)
		}
	}
}

func TestHolds(t *testing.T) {
	a := &Acknowledgement{Held: []string{"api/x", "web/a"}}
	for id, want := range map[string]bool{"web/a": true, "web": true, "api": true, "web/b": false, "we": false, "web/": false, "": false} {
		if got := a.Holds(id); got != want {
			t.Errorf("Holds(%q) = %t", id, got)
		}
	}
	if a.MoreHeld = true; !a.Holds("web/b") {
		t.Error("what is not named may be held where not all are")
	}
}

func TestGone(t *testing.T) {
	for name, tt := range map[string]struct {
		ack     Acknowledgement
		want    bool
		service bool // whether the whole service is gone
	}{
		"drained":                           {ack: Acknowledgement{Applied: 7, Finished: 7, Drained: 7}, want: true, service: true},
		"drained, whatever else is running": {ack: Acknowledgement{Applied: 9, Finished: 9, Drained: 7, Busy: []string{"web/a"}, MoreBusy: true}, want: true, service: true},
		"an older render":                   {ack: Acknowledgement{Applied: 7, Drained: 6}},
		"an older render that has drained":  {ack: Acknowledgement{Applied: 7, Drained: 7}, want: true, service: true},
		"applied":                           {ack: Acknowledgement{Applied: 7, Finished: 6, Drained: 6}},
		"nothing yet":                       {ack: Acknowledgement{}},
		"finished":                          {ack: Acknowledgement{Applied: 7, Finished: 7, Drained: 3}, want: true, service: true},
		"finished, another's is running":    {ack: Acknowledgement{Finished: 7, Busy: []string{"web/ab", "api/a"}}, want: true},
		"finished, its own is running":      {ack: Acknowledgement{Finished: 7, Busy: []string{"api/a", "web/a"}}},
		"finished, one of its service is":   {ack: Acknowledgement{Finished: 7, Busy: []string{"api", "web"}}},
		"finished, one of another's is":     {ack: Acknowledgement{Finished: 7, Busy: []string{"api", "we"}}, want: true, service: true},
		"finished, not all are named":       {ack: Acknowledgement{Finished: 7, Busy: []string{"web/b"}, MoreBusy: true}},
		"drained and held":                  {ack: Acknowledgement{Finished: 7, Drained: 7, Held: []string{"web/a"}}},
		"finished and held":                 {ack: Acknowledgement{Finished: 7, Held: []string{"web/a"}}},
		"drained, another is held":          {ack: Acknowledgement{Drained: 7, Held: []string{"web/b"}}, want: true},
		"drained, not all held are named":   {ack: Acknowledgement{Finished: 7, Drained: 7, MoreHeld: true}},
	} {
		if got := tt.ack.Gone("web/a", 7); got != tt.want {
			t.Errorf("%s: web/a is gone: %t", name, got)
		}
		if got := tt.ack.Gone("web", 7); got != tt.service {
			t.Errorf("%s: web is gone: %t", name, got)
		}
	}
}

func TestRoutes(t *testing.T) {
	for name, tt := range map[string]struct {
		ack    Acknowledgement
		weight int
		want   bool
	}{
		"applied":                    {Acknowledgement{Applied: 7}, 100, true},
		"behind":                     {Acknowledgement{Applied: 6}, 100, false},
		"of another prefix":          {Acknowledgement{Applied: 7, Prefix: "/other"}, 100, false},
		"of other services":          {Acknowledgement{Applied: 7, Services: []string{"api"}}, 100, false},
		"skipped":                    {Acknowledgement{Applied: 7, Skipped: []string{"web/a"}}, 100, false},
		"another is skipped":         {Acknowledgement{Applied: 7, Skipped: []string{"web/b"}}, 100, true},
		"not all skipped are named":  {Acknowledgement{Applied: 7, More: true}, 100, false},
		"weight 0: no new requests":  {Acknowledgement{Applied: 7}, 0, false},
		"weight 1: a few, but there": {Acknowledgement{Applied: 7}, 1, true},
	} {
		if tt.ack.Prefix == "" {
			tt.ack.Prefix = "/services"
		}
		if got := tt.ack.Routes("/services", &Instance{Service: "web", Name: "a", Revision: 7, Weight: tt.weight}); got != tt.want {
			t.Errorf("%s: %t, want %t", name, got, tt.want)
		}
	}
}
