package inputs

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rollcall/internal/discovery"
)

// A candidate is where a certificate and its key may be.
type candidate struct {
	base       string // what stands for the host name
	chain, key string // paths; the same where one file holds both
}

// candidates finds what looks like certificates: HOST.crt or HOST.pem with HOST.key, one
// of the two alone with the key inside, and directories as certbot makes them.
func candidates(dir string, names []string) []candidate {
	var found []candidate
	extensions := map[string][]string{} // by base
	for _, name := range names {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		ext := filepath.Ext(name)
		switch {
		case err == nil && info.IsDir():
		case ext == ".crt" || ext == ".pem" || ext == ".key":
			base := strings.TrimSuffix(name, ext)
			extensions[base] = append(extensions[base], ext)
			continue
		case err == nil:
			continue // certbot's README, say
		}
		// A link that leads nowhere may be a directory that is being replaced.
		found = append(found, candidate{name, filepath.Join(path, "fullchain.pem"), filepath.Join(path, "privkey.pem")})
	}
	for base, has := range extensions {
		path := filepath.Join(dir, base)
		c := candidate{base: base, chain: path + ".crt", key: path + ".key"}
		alone := !slices.Contains(has, ".key")
		if !slices.Contains(has, ".crt") || alone && slices.Contains(has, ".pem") {
			c.chain = path + ".pem"
		}
		if alone {
			c.key = c.chain
		}
		found = append(found, c)
	}
	slices.SortFunc(found, func(x, y candidate) int { return cmp.Compare(x.chain, y.chain) })
	return found
}

// hostName gives the name that a certificate's file or directory stands for. A "*" needs
// quoting in a shell, so "_" is one too.
func hostName(base string) (string, error) {
	if base == "default" {
		return "", nil
	}
	for _, star := range []string{"_.", "*."} {
		if rest, ok := strings.CutPrefix(base, star); ok {
			name, err := discovery.CanonicalHostName(rest)
			return "*." + name, err
		}
	}
	return discovery.CanonicalHostName(base)
}

// loadPairs reads the certificates. One that is bad stays as it was when it was good: a
// new certificate is on disk before or after its key, never with it. One that is removed goes.
func (f *Files) loadPairs(s *Set, now time.Time) {
	if f.cfg.Certs == "" {
		return
	}
	good := map[string]checked{}
	names, err := entries(f.cfg.Certs)
	if err != nil {
		s.refuse(f.cfg.Certs, err)
		good = f.pairs
	}
	from := map[string]candidate{}
	for _, c := range candidates(f.cfg.Certs, names) {
		name, err := hostName(c.base)
		if err != nil {
			s.refuse(c.chain, err)
			continue
		}
		if other, ok := from[name]; ok {
			s.refuse(c.chain, fmt.Errorf("is for the same name as %s, which is used", other.chain))
			continue
		}
		from[name] = c
		last, had := f.pairs[name]
		p, file, err := c.load(last)
		switch {
		case err == nil:
			good[name] = p
		case had:
			s.refuse(file, fmt.Errorf("%w; the earlier certificate stays in use", err))
			good[name] = last
		default:
			s.refuse(file, err)
		}
	}
	f.pairs = good
	for _, name := range slices.Sorted(maps.Keys(good)) {
		s.Pairs = append(s.Pairs, Pair{Name: name, PEM: good[name].pem})
		for _, w := range good[name].warnings(name, now) {
			s.Warnings = append(s.Warnings, Warning{File: cmp.Or(from[name].chain, f.cfg.Certs), Reason: w})
		}
	}
}

// load reads and checks a pair, or gives the last one when nothing has changed since. An
// error comes with the file that is to blame.
func (c candidate) load(last checked) (checked, string, error) {
	chain, err := read(c.chain)
	if err != nil {
		return checked{}, c.chain, err
	}
	key := chain
	if c.key != c.chain {
		if key, err = read(c.key); err != nil {
			return checked{}, c.key, err
		}
	}
	sum := sha256.Sum256(bytes.Join([][]byte{chain, key}, []byte{0}))
	if sum == last.sum {
		return last, "", nil
	}
	p, err := checkPair(chain, key)
	p.sum = sum
	if keyError := (*keyError)(nil); errors.As(err, &keyError) {
		return p, c.key, err
	}
	return p, c.chain, err
}
