package discovery

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Layout is the shape in which a record is written to etcd. All layouts are
// read without being told which.
type Layout string

// The layouts that announce writes.
const (
	LayoutJSON      Layout = "json"      // <prefix>/<service>/<instance> = {"host":…,"port":…,…}
	LayoutHostPort  Layout = "hostport"  // <prefix>/<service>/<instance> = 10.0.0.5:80
	LayoutDirectory Layout = "directory" // <prefix>/<service>/<instance>/{host,port,…}
)

// Layouts lists every layout, the default first.
func Layouts() []Layout { return []Layout{LayoutJSON, LayoutHostPort, LayoutDirectory} }

// ParseLayout reads a layout's name.
func ParseLayout(s string) (Layout, error) {
	if l := Layout(s); slices.Contains(Layouts(), l) {
		return l, nil
	}
	return "", fmt.Errorf("layout %s is none of json, hostport and directory", quote(s))
}

// CleanPrefix gives a key prefix in the form "/a/b": one leading slash, none at the end.
func CleanPrefix(prefix string) (string, error) {
	prefix = "/" + strings.Trim(prefix, "/")
	if prefix == "/" {
		return "", fmt.Errorf("prefix may not be empty or / alone")
	}
	for seg := range strings.SplitSeq(prefix[1:], "/") {
		if err := validateText(seg, maxText); err != nil || seg == "" || seg == "." || seg == ".." {
			return "", fmt.Errorf("prefix %s has an empty, unprintable, '.' or '..' part", quote(prefix))
		}
	}
	if prefix == OwnPrefix || strings.HasPrefix(prefix, OwnPrefix+"/") {
		return "", fmt.Errorf("prefix %s is below %s, which is rollcall's own", quote(prefix), OwnPrefix)
	}
	return prefix, nil
}

// A Record is what one instance looks like in etcd: one key and value, or
// several in the directory layout.
type Record struct {
	Service  string
	Instance string
	Values   map[string]string // key → value
}

// ID gives the record's full name, "service/instance".
func (r Record) ID() string { return r.Service + "/" + r.Instance }

// Keys lists the record's keys, sorted.
func (r Record) Keys() []string { return slices.Sorted(maps.Keys(r.Values)) }

// Size gives the bytes of the record's values.
func (r Record) Size() int {
	n := 0
	for _, v := range r.Values {
		n += len(v)
	}
	return n
}

// Container gives the id of the container that the record is of; "" if its layout does not say.
func (r Record) Container() string {
	key := "/" + r.Service + "/" + r.Instance
	for k, v := range r.Values {
		if strings.HasSuffix(k, key+"/container") {
			return v
		}
		if i, err := DecodeRecord(r.Service, r.Instance, []byte(v)); err == nil && strings.HasSuffix(k, key) {
			return i.Container
		}
	}
	return ""
}

// Equal says whether two records would leave the same keys and values in etcd.
func (r Record) Equal(o Record) bool { return maps.Equal(r.Values, o.Values) }

// Encode validates an instance and gives the record that describes it.
func Encode(prefix string, layout Layout, i *Instance) (Record, error) {
	i = i.clone()
	if err := i.canonicalize(); err != nil {
		return Record{}, fmt.Errorf("instance %s: %w", quote(i.Service+"/"+i.Name), err)
	}
	key := prefix + "/" + i.Service + "/" + i.Name
	r := Record{Service: i.Service, Instance: i.Name, Values: map[string]string{}}
	switch layout {
	case LayoutHostPort:
		if (i.Proto == "udp") != strings.HasSuffix(i.Name, udpSuffix) {
			return Record{}, fmt.Errorf("instance %s: layout %s cannot say %s under this name: it means udp if it ends in %s, and tcp otherwise", i.ID(), layout, i.Proto, udpSuffix)
		}
		r.Values[key] = i.Endpoint()
	case LayoutDirectory:
		for field, value := range i.encodeDirectory() {
			r.Values[key+"/"+field] = value
		}
	default:
		value, err := i.encodeJSON()
		if err != nil {
			return Record{}, fmt.Errorf("instance %s: %w", i.ID(), err)
		}
		if len(value) > maxRecord {
			return Record{}, fmt.Errorf("instance %s: the record would be longer than %d bytes", i.ID(), maxRecord)
		}
		r.Values[key] = string(value)
	}
	return r, nil
}

// encodeDirectory writes the fields of the classic sidekick directory, in which
// "host" is the machine's name and private_ipv4_addr where it can be reached, and
// after them those that it lacks. A meta key with a slash has no place in it.
func (i *Instance) encodeDirectory() map[string]string {
	f := map[string]string{
		"host": i.Host, "port": strconv.Itoa(int(i.Port)), "proto": i.Proto, "weight": strconv.Itoa(i.Weight),
		"version": i.Version, "node": i.Node, "machine": i.Machine, "container": i.Container,
		"hosts": strings.Join(i.Hosts, ","), "path": i.Path,
	}
	if addr, ok := i.Addr(); ok && addr.Is4() {
		f["private_ipv4_addr"] = i.Host
		if validateHostName(i.Node) == nil {
			f["host"] = i.Node
		}
	}
	if !i.Started.IsZero() {
		f["started"] = i.Started.Format(time.RFC3339)
	}
	maps.DeleteFunc(f, func(_, v string) bool { return v == "" })
	for k, v := range i.Meta {
		if !strings.Contains(k, "/") {
			f["meta."+k] = v
		}
	}
	return f
}

// decodeDirectory reads the fields of a directory. incomplete is set when it
// lacks what a later write may still bring.
func decodeDirectory(service, name string, fields map[string]string) (i *Instance, incomplete bool, err error) {
	i = &Instance{Service: service, Name: name, Proto: "tcp", Weight: DefaultWeight}
	if len(fields) > maxFields {
		return nil, false, fmt.Errorf("directory has more than %d fields", maxFields)
	}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if len(fields[field]) > maxRecord {
			return nil, false, fmt.Errorf("field %s is longer than %d bytes", quote(field), maxRecord)
		}
		if err := i.decodeField(field, strings.TrimSpace(fields[field])); err != nil {
			return nil, false, fmt.Errorf("field %s: %w", quote(field), err)
		}
	}
	// The machine's name is known to people; its address is what a balancer can use.
	for _, field := range []string{"private_ipv4_addr", "public_ipv4_addr", "host"} {
		if i.Host = strings.TrimSpace(fields[field]); i.Host != "" {
			break
		}
	}
	if i.Host == "" || i.Port == 0 {
		return nil, true, fmt.Errorf("directory is incomplete: it needs port and one of private_ipv4_addr, public_ipv4_addr and host")
	}
	if err := i.canonicalize(); err != nil {
		return nil, false, err
	}
	return i, false, nil
}

// decodeField reads one field. An empty one counts as not yet written.
func (i *Instance) decodeField(field, value string) (err error) {
	key, isMeta := strings.CutPrefix(field, "meta.")
	if value == "" && !isMeta {
		return nil
	}
	switch field {
	case "host", "private_ipv4_addr", "public_ipv4_addr":
	case "port":
		i.Port, err = ParsePort(value)
	case "proto":
		i.Proto = value
	case "weight":
		if i.Weight, err = strconv.Atoi(value); err != nil {
			err = fmt.Errorf("weight %s is not a number", quote(value))
		}
	case "version":
		i.Version = value
	case "node":
		i.Node = value
	case "machine":
		i.Machine = value
	case "container":
		i.Container = value
	case "hosts":
		for host := range strings.SplitSeq(value, ",") {
			i.Hosts = append(i.Hosts, strings.TrimSpace(host))
		}
	case "path":
		i.Path = value
	case "started":
		err = i.setStarted(value)
	default:
		if !isMeta {
			i.setExtra(field, value)
			return nil
		}
		if i.Meta == nil {
			i.Meta = map[string]string{}
		}
		i.Meta[key] = value
	}
	return err
}
