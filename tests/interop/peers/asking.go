// Asks a server twice over HTTPS, by net/http with its defaults:
//
//	asking FOLDER PORT CREDENTIAL
//
// Prints the last answer's body, or panics.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	folder, port, credential := os.Args[1], os.Args[2], filepath.Join(os.Args[1], os.Args[3])
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(must(os.ReadFile(filepath.Join(folder, "servers.crt"))))
	own := must(tls.LoadX509KeyPair(credential+".crt", credential+".key"))
	client := http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}},
	}}
	var body []byte
	for i := 0; i < 2; i++ {
		answer := must(client.Get("https://localhost:" + port + "/json"))
		body = must(io.ReadAll(answer.Body))
		answer.Body.Close()
	}
	fmt.Println(string(body))
}
