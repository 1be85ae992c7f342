// Package ports gives tests ports of the loopback address for servers that bind them by
// themselves.
package ports

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// Ports are taken from below the range that Linux gives to clients and to port 0
// (32768–60999): there a connection of any other test may sit on a port that was free.
const first, last = 20000, 32767

// Free gives a port of 127.0.0.1 on which nothing listens. No other call, in this process or
// another, gets it before the test is over: until then the UDP port of that number, which no
// server here wants, is held in its stead.
func Free(tb testing.TB) int {
	tb.Helper()
	for range 1000 {
		port := first + rand.N(last-first+1)
		held, err := net.ListenPacket("udp", address(port))
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			held.Close()
			continue
		}
		l.Close()
		tb.Cleanup(func() { held.Close() })
		return port
	}
	tb.Fatal("no free port")
	return 0
}

// Address gives such a port with its address.
func Address(tb testing.TB) string {
	tb.Helper()
	return address(Free(tb))
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
