// Server is what the containers of these tests run: a web server that answers with
// its name. Called in any other way it is their HEALTHCHECK, and fails once
// /state/sick exists: the image has it as /bin/sh too, because both engines hand a
// check given on the command line to a shell.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		time.Sleep(200 * time.Millisecond) // a real check takes a moment, and its result comes after it
		if _, err := os.Stat("/state/sick"); err == nil {
			os.Exit(1)
		}
		return
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		os.Exit(0)
	}()
	server := &http.Server{
		Addr:              os.Getenv("LISTEN"),
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, os.Getenv("NAME"))
		}),
	}
	fmt.Fprintln(os.Stderr, server.ListenAndServe())
	os.Exit(1)
}
