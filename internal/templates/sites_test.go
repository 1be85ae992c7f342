package templates

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSites(t *testing.T) {
	web, shop, fallback := []Route{{"", "web"}}, []Route{{"/shop", "shop"}, {"", "web"}}, []Route{{"", "fallback"}}
	hosts := []VirtualHost{{"a..b", web}, {"a.example", web}, {"b.example", shop}, {"c.example", web}, {"d", nil}, {"x.y.example", web}}
	without := []Site{
		{Routes: fallback, Plain: true},
		{Names: []string{"a.example", "c.example", "x.y.example"}, Routes: web, Plain: true},
		{Names: []string{"b.example"}, Routes: shop, Plain: true},
		{Names: []string{"d"}, Plain: true},
	}
	named := []Certificate{{"*.example", "wild"}, {"a.example", "a"}, {"other.example", "other"}}
	for _, tc := range []struct {
		name         string
		listen       string
		certificates []Certificate
		redirect     bool
		want         []Site
	}{
		{"no certificate", ":443", nil, true, without},
		{"no address", "", named, true, without},
		{"certificates", ":443", named, false, []Site{
			{Routes: fallback, Plain: true},
			{Names: []string{"a.example"}, Routes: web, Plain: true, Certificate: "a"},
			{Names: []string{"b.example"}, Routes: shop, Plain: true, Certificate: "wild"},
			{Names: []string{"c.example"}, Routes: web, Plain: true, Certificate: "wild"},
			{Names: []string{"d"}, Plain: true},
			{Names: []string{"x.y.example"}, Routes: web, Plain: true},
			{Names: []string{"other.example"}, Routes: fallback, Certificate: "other"},
			{Names: []string{"*.example"}, Routes: fallback, Certificate: "wild"},
		}},
		{"redirect", ":443", named, true, []Site{
			{Routes: fallback, Plain: true},
			{Names: []string{"a.example"}, Routes: web, Certificate: "a"},
			{Names: []string{"b.example"}, Routes: shop, Certificate: "wild"},
			{Names: []string{"c.example"}, Routes: web, Certificate: "wild"},
			{Names: []string{"d"}, Plain: true},
			{Names: []string{"x.y.example"}, Routes: web, Plain: true},
			{Names: []string{"other.example"}, Routes: fallback, Certificate: "other"},
			{Names: []string{"*.example"}, Routes: fallback, Certificate: "wild"},
			{Names: []string{"a.example", "b.example", "c.example", "other.example", "*.example"}, Plain: true, Redirect: true},
		}},
		{"one for all", ":443", []Certificate{{"", "all"}}, true, []Site{
			{Routes: fallback, Certificate: "all"},
			{Plain: true, Redirect: true},
			{Names: []string{"a.example", "c.example", "x.y.example"}, Routes: web, Certificate: "all"},
			{Names: []string{"b.example"}, Routes: shop, Certificate: "all"},
			{Names: []string{"d"}, Certificate: "all"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := Balancer{Hosts: hosts, Default: VirtualHost{Routes: fallback}, Certificates: tc.certificates, Settings: Settings{Redirect: tc.redirect}}
			if tc.listen != "" {
				b.ListenTLS = []string{tc.listen}
			}
			if diff := cmp.Diff(tc.want, b.sites()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPortTLS(t *testing.T) {
	for _, tc := range []struct {
		listen []string
		want   string
	}{
		{nil, ""},
		{[]string{":443"}, ""},
		{[]string{"[::1]:8443", "10.0.0.1:9443"}, ":8443"},
		{[]string{"[::1]:8443", "10.0.0.1:443"}, ""},
	} {
		if got := (Balancer{ListenTLS: tc.listen}).PortTLS(); got != tc.want {
			t.Errorf("%v: got %q, want %q", tc.listen, got, tc.want)
		}
	}
}
