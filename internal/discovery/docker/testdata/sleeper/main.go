// Sleeper is what the containers of this package's tests run: it waits for a signal.
// As "sleeper healthy" it is their HEALTHCHECK, and fails once /state/sick exists.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "healthy" {
		if _, err := os.Stat("/state/sick"); err == nil {
			os.Exit(1)
		}
		return
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
}
