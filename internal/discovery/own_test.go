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
	if value, _ := (&Acknowledgement{}).Encode(); !strings.Contains(value, `"applied":0,"drained":0`) {
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
