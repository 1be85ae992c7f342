package reload

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// BenchmarkApply compares a whole transaction, on a server that costs nothing, with
// the fsynced write and the rename that no renderer can do without. What comes after
// the server has been told, the copy of the last good file, is done while a real one
// reads its files.
func BenchmarkApply(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20, 10 << 20} {
		line := []byte("server { listen 80; server_name www.example.com; }\n")
		content := bytes.Repeat(line, size/len(line))
		candidate := func(path string, i int) Candidate {
			g := "g" + strconv.Itoa(i)
			return Candidate{Generation: g, Files: []File{{Path: path, Content: append([]byte("# "+g+"\n"), content...)}}}
		}
		b.Run(fmt.Sprintf("write/%dkB", size>>10), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "m.conf")
			for i := range b.N {
				if err := plainWrite(path, candidate(path, i).Files[0].Content); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("apply/%dkB", size>>10), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "m.conf")
			var began time.Time
			var told time.Duration
			tx := New(Config{Proxy: &fakeProxy{reload: func() error { told += time.Since(began); return nil }}})
			defer tx.Close()
			for i := range b.N {
				c := candidate(path, i)
				began = time.Now()
				if _, err := tx.Apply(b.Context(), c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(told.Nanoseconds())/float64(b.N), "ns-to-reload/op")
		})
	}
}

// plainWrite is what a careful program does that knows no server.
func plainWrite(path string, content []byte) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return disk{}.sync(filepath.Dir(path))
}
