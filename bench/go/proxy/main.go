// Command proxy passes TCP connections on to another address, with io.Copy, which splices: the twin
// of examples/proxy.c, without its deadlines.
//
//	goproxy UPSTREAM          GOMAXPROCS sets the processors; the port is printed first
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

func expect(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "goproxy: %v\n", err)
		os.Exit(1)
	}
}

func pass(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err == nil {
		to.CloseWrite()
		return
	}
	to.Close()
	from.Close()
}

func serve(client *net.TCPConn, address string) {
	defer client.Close()
	c, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	upstream := c.(*net.TCPConn)
	defer upstream.Close()
	var down sync.WaitGroup
	down.Add(1)
	go func() {
		defer down.Done()
		pass(client, upstream)
	}()
	pass(upstream, client)
	down.Wait()
}

func main() {
	if len(os.Args) != 2 {
		expect(fmt.Errorf("usage: goproxy UPSTREAM"))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	expect(err)
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	for {
		c, err := l.Accept()
		expect(err)
		go serve(c.(*net.TCPConn), os.Args[1])
	}
}
