// Command httpd serves the files of a directory, and /json, by net/http: the twin of
// examples/httpd, with its time-outs.
//
//	gohttpd ROOT          GOMAXPROCS sets the processors; the port is printed first
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

var message = []byte(`{"message":"Hello, World!"}`)

func json(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(message)
}

func expect(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "gohttpd: %v\n", err)
		os.Exit(1)
	}
}

func main() {
	if len(os.Args) != 2 {
		expect(fmt.Errorf("usage: gohttpd ROOT"))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/json", json)
	mux.Handle("/", http.FileServer(http.Dir(os.Args[1])))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	expect(err)
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	server := http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
	}
	expect(server.Serve(l))
}
