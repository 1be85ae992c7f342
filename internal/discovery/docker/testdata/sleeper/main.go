// Sleeper is what the containers of this package's tests run: it waits for a signal.
// USR1 makes it take memory, USR2 makes it fail. As "sleeper healthy" it is their
// HEALTHCHECK, and fails once /state/sick exists; as "sleeper eat" it takes memory at once,
// as "sleeper crash" it makes the first process of its container fail, and as "sleeper speak" it
// says a lot and fails itself.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "healthy":
			if _, err := os.Stat("/state/sick"); err == nil {
				os.Exit(1)
			}
		case "eat":
			eat()
		case "speak":
			fmt.Fprintln(os.Stderr, strings.Repeat("many words ", 1000))
			fmt.Fprintln(os.Stderr, "last words")
			os.Exit(3)
		case "crash":
			// The first process of a container is deaf to a signal that it does not wait for yet.
			for syscall.Kill(1, syscall.SIGUSR2) == nil {
				time.Sleep(10 * time.Millisecond)
			}
		}
		return
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2)
	switch <-stop {
	case syscall.SIGUSR1:
		eat()
	case syscall.SIGUSR2:
		os.Exit(1)
	}
}

// eat takes far more memory than the tests allow, but no machine is brought down by it.
func eat() {
	food := make([]byte, 256<<20)
	for i := 0; i < len(food); i += 1 << 10 {
		food[i] = 1
	}
}
