// An echo server with mutual TLS and Go's defaults: echo CERT KEY CA. It prints its port.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	certificate, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	if err != nil {
		panic(err)
	}
	pem, err := os.ReadFile(os.Args[3])
	if err != nil {
		panic(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(pem)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer connection.Close()
			io.Copy(connection, struct{ io.Reader }{connection})
		}()
	}
}
