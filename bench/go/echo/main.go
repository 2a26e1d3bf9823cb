// Command echo is the echo server in Go: the twin of bench/net/echo_gort.c.
//
//	goecho [BUFFER]          GOMAXPROCS sets the processors
//
// Go raises the soft limit of descriptors by itself.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
)

func serve(c net.Conn, size int) {
	defer c.Close()
	buffer := make([]byte, size)
	for {
		n, err := c.Read(buffer)
		if err != nil {
			return
		}
		if _, err = c.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func expect(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "goecho: %v\n", err)
		os.Exit(1)
	}
}

func main() {
	size := 4096
	if len(os.Args) > 1 {
		var err error
		size, err = strconv.Atoi(os.Args[1])
		expect(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	expect(err)
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	for {
		c, err := l.Accept()
		expect(err)
		go serve(c, size)
	}
}
