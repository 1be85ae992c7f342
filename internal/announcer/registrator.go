package announcer

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"rollcall/internal/check"
	"rollcall/internal/discovery"
)

const (
	legacyPrefix = "SERVICE_"

	// A record has room for 64 meta values and 64 KiB, of which JSON may need six bytes
	// for one. What an image says must leave some of it to the operator, and to the tags.
	maxLegacyAttrs = 48
	maxLegacyText  = 5 << 10 // bytes of all attributes with their keys
)

// legacy is what a container made for registrator says of one of its ports. It is
// read as registrator reads it (gliderlabs/registrator, docs/user/services.md and
// bridge/util.go), but for names, which are made lower case as all of rollcall's are.
type legacy struct {
	Name, ID       string
	OwnName, OwnID bool // said of this port (SERVICE_80_NAME), not of the whole container
	Ignore         bool
	Tags           []string
	Attrs          map[string]string // what no other field holds, keys in lower case
	Dropped        []Setting         // what is kept back, by its quoted name, with the reason for a value

	names             map[string]string // who said it: "id" → "SERVICE_80_ID"
	http, https, tcp  string            // the checks that registrator had Consul do
	interval, timeout string
}

// saying is one variable or label, once it is known to be about the port.
type saying struct {
	name, value string
	own         bool
	from        string // "label" or "variable"
}

// What no record can hold, what is no check that makes sense, and what its name says is a
// secret is kept back: a variable is called SERVICE_PASSWORD in many a container that has
// never heard of registrator, and every reader of etcd would see it.
func readLegacy(labels, env map[string]string, port uint16) legacy {
	said := lastWords(labels, env, port)
	l := legacy{
		Name: strings.ToLower(said["name"].value), OwnName: said["name"].own,
		ID: strings.ToLower(said["id"].value), OwnID: said["id"].own,
		Ignore: said["ignore"].value != "", // any value: registrator ignores SERVICE_IGNORE=false too
		Attrs:  map[string]string{},
		names:  map[string]string{},
	}
	checks := map[string]*string{
		"check_http": &l.http, "check_https": &l.https, "check_tcp": &l.tcp,
		"check_interval": &l.interval, "check_timeout": &l.timeout,
	}
	room := maxLegacyText
	for _, key := range slices.Sorted(maps.Keys(said)) {
		s := said[key]
		l.names[key] = s.from + " " + s.name
		if key == "name" || key == "id" || key == "ignore" || s.value == "" {
			continue
		}
		size := len(key) + len(s.value)
		part, isCheck := checks[key]
		reason := ""
		switch {
		case discovery.ValidateMeta(key, s.value) != nil:
			reason = "no record can hold it"
		case isCheck && checkable(key, s.value):
			*part = s.value
		case isCheck:
			reason = "not a check that makes sense"
		case key == "tags":
			l.Tags = parseTags(s.value)
		case secret(key):
			reason = "a secret, by its name"
		case size > room || len(l.Attrs) == maxLegacyAttrs:
			reason = fmt.Sprintf("more than %d attributes, or %d bytes of them", maxLegacyAttrs, maxLegacyText)
		default:
			l.Attrs[key] = s.value
			room -= size
		}
		if reason != "" {
			l.Dropped = append(l.Dropped, Setting{Name: fmt.Sprintf("%+.80q", s.name), Value: reason, From: s.from})
		}
	}
	return l
}

// lastWords finds, for each attribute, what counts: what is said of the port beats what
// is said of the container, and among these a label beats a variable. An empty value is
// a word too: it hides the others, and says nothing itself.
func lastWords(labels, env map[string]string, port uint16) map[string]saying {
	said := map[string]saying{}
	for n, from := range []map[string]string{env, labels} {
		var names []string
		for name := range from {
			if strings.HasPrefix(name, legacyPrefix) {
				names = append(names, name)
			}
		}
		// SERVICE_ZONE and SERVICE_Zone are one attribute. Capitals, which sort first, come last.
		slices.Sort(names)
		for _, name := range slices.Backward(names) {
			key, own, ok := legacyKey(name[len(legacyPrefix):], port)
			if ok && (own || !said[key].own) {
				said[key] = saying{name, strings.TrimSpace(from[name]), own, []string{"variable", "label"}[n]}
			}
		}
	}
	return said
}

// legacyKey gives the attribute that is set by what follows SERVICE_ in a name; ok is
// false when it is of another port. A number is a port only if something follows it:
// SERVICE_8080 is an attribute of every port.
func legacyKey(name string, port uint16) (key string, own, ok bool) {
	key = strings.ToLower(name)
	if number, rest, more := strings.Cut(key, "_"); more {
		if _, err := strconv.Atoi(number); err == nil {
			return rest, true, number == strconv.Itoa(int(port))
		}
	}
	return key, false, true
}

// secret says whether an attribute's name ends in a word for what is not to be shown around.
func secret(key string) bool {
	words := strings.FieldsFunc(key, func(r rune) bool { return r == '_' || r == '-' || r == '.' })
	return len(words) > 0 && slices.Contains([]string{
		"password", "passwd", "secret", "secrets", "token", "key", "apikey", "credential", "credentials",
	}, words[len(words)-1])
}

// checkable says whether a part of a check can be understood.
func checkable(key, value string) bool {
	spec := check.Spec{
		Scheme: "tcp", Interval: check.DefaultInterval, Timeout: check.DefaultTimeout, Rise: check.DefaultRise, Fall: check.DefaultFall,
	}
	var err error
	switch key {
	case "check_http", "check_https":
		_, err = check.Parse(rooted("http://", value))
	case "check_interval":
		spec.Interval, err = time.ParseDuration(value)
	case "check_timeout":
		spec.Timeout, err = time.ParseDuration(value)
	}
	return err == nil && spec.Validate() == nil
}

// check gives the health check that was meant for Consul as rollcall writes one, to be
// done on the announced endpoint. ok is false when there is none. An empty interval or
// timeout is the usual one.
func (l legacy) check() (target, interval, timeout string, ok bool) {
	switch {
	case l.http != "":
		target = rooted("http://", l.http)
	case l.https != "":
		target = rooted("https://", l.https)
	case l.tcp != "":
		target = "tcp://" // any value: registrator takes CHECK_TCP=false for a wish too
	default:
		return "", "", "", false
	}
	return target, l.interval, l.timeout, true
}

// rooted appends a path to a scheme. Without its first slash it would be taken for a
// host, and another machine would be asked whether this one is well.
func rooted(scheme, path string) string {
	return scheme + "/" + strings.TrimPrefix(path, "/")
}

// meta is what is told with the record: the attributes, and the tags as they were written.
func (l legacy) meta() map[string]string {
	meta := maps.Clone(l.Attrs)
	if len(l.Tags) > 0 {
		meta["tags"] = joinTags(l.Tags)
	}
	return meta
}

// parseTags splits at commas, except those behind a backslash. Empty tags are none.
func parseTags(s string) []string {
	var tags []string
	tag := ""
	for more := true; more; {
		var head string
		head, s, more = strings.Cut(s, ",")
		if before, escaped := strings.CutSuffix(head, `\`); escaped && more {
			tag += before + ","
			continue
		}
		if tag += head; tag != "" {
			tags = append(tags, tag)
		}
		tag = ""
	}
	return tags
}

func joinTags(tags []string) string {
	var escaped []string
	for _, t := range tags {
		escaped = append(escaped, strings.ReplaceAll(t, ",", `\,`))
	}
	return strings.Join(escaped, ",")
}
