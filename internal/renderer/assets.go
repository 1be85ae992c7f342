package renderer

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"slices"
	"strings"

	"rollcall/internal/inputs"
	"rollcall/internal/reload"
	"rollcall/internal/templates"
)

// assets gives the files besides the outputs that a balancer names, and names them in it.
func (r *Renderer) assets(b *templates.Balancer, in *input) ([]reload.Asset, error) {
	assets := slices.Clone(in.assets)
	if b.Proxy != "haproxy" {
		return assets, nil // nginx and Apache have all the rest in their configuration
	}
	if len(b.Certificates) > 0 {
		list := asset(r.cfg.AssetDir, "certificates", ".list", templates.CertificateList(b.Certificates))
		b.CertificateList = list.Path
		assets = append(assets, list)
	}
	content, err := templates.HostMap(*b)
	if err != nil {
		return nil, err
	}
	hosts := asset(r.cfg.AssetDir, "hosts", ".map", content)
	hosts.Public = true // HAProxy may read it as any user, and it says nothing that requests do not show
	b.HostMap = hosts.Path
	return append(assets, hosts), nil
}

// certificates gives what is in service of the operator's certificates.
func certificates(dir string, pairs []inputs.Pair) (list []templates.Certificate, assets []reload.Asset) {
	for _, p := range pairs {
		a := asset(dir, cmp.Or(p.Name, "default"), ".pem", p.PEM)
		list, assets = append(list, templates.Certificate{Name: p.Name, File: a.Path}), append(assets, a)
	}
	slices.SortFunc(list, func(x, y templates.Certificate) int { return cmp.Compare(x.Name, y.Name) })
	return list, assets
}

// asset names a file after its content, and after what it is for people.
func asset(dir, about, extension string, content []byte) reload.Asset {
	sum := sha256.Sum256(content)
	name := strings.ReplaceAll(about, "*", "_") + "-" + hex.EncodeToString(sum[:6]) + extension
	return reload.Asset{Path: filepath.Join(dir, name), Content: content}
}
