// An HTTPS server in Go, as a service would have one: net/http and crypto/tls.
//
//	serving CERTIFICATE KEY CLIENT-CA required|optional|unverified|none
//
// It listens on a free port of 127.0.0.1 and prints it.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	pem, err := os.ReadFile(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		log.Fatal("no CA certificate")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "hello\n")
		}),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			ClientCAs:  pool,
			ClientAuth: map[string]tls.ClientAuthType{
				"required":   tls.RequireAndVerifyClientCert,
				"optional":   tls.VerifyClientCertIfGiven,
				"unverified": tls.RequireAnyClientCert,
				"none":       tls.NoClientCert,
			}[os.Args[4]],
		},
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(server.ServeTLS(listener, os.Args[1], os.Args[2]))
}
