// A Go program at one end of mutual TLS that says what it saw, one line per connection.
//
//	refused client FOLDER PORT VERSION/CREDENTIAL/BYTES/TIMES...
//	    connects TIMES times, sends BYTES bytes each, and reads until the verdict
//	refused server FOLDER VERSION/CREDENTIAL...
//	    listens once per case ("port<TAB>CASE<TAB>PORT") and echoes, until it is killed
//
// Each line is "saw<TAB>CASE<TAB>TEXT": "echoed N", "end of file", or the error, in Go's own
// words. FOLDER holds CREDENTIAL.crt and .key, servers.crt and clients.crt (trust anchors), and
// may hold settings.json: {"cipher": NUMBER} is the only TLS 1.2 suite then.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const patience = 20 * time.Second // against a hang only

var output sync.Mutex

func say(kind, name, text string) {
	output.Lock()
	defer output.Unlock()
	fmt.Printf("%s\t%s\t%s\n", kind, name, strings.ReplaceAll(text, "\n", " "))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func config(folder, anchors, version, credential string) *tls.Config {
	pem, err := os.ReadFile(filepath.Join(folder, anchors))
	must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	number := map[string]uint16{"TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13}[version]
	found := &tls.Config{
		MinVersion: number, MaxVersion: number,
		RootCAs: pool, ServerName: "localhost",
		ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
	if credential != "none" {
		path := filepath.Join(folder, credential)
		pair, err := tls.LoadX509KeyPair(path+".crt", path+".key")
		must(err)
		found.Certificates = []tls.Certificate{pair}
	}
	if content, err := os.ReadFile(filepath.Join(folder, "settings.json")); err == nil {
		var settings struct{ Cipher uint16 }
		must(json.Unmarshal(content, &settings))
		if settings.Cipher != 0 {
			found.CipherSuites = []uint16{settings.Cipher}
		}
	}
	return found
}

func connect(address string, settings *tls.Config, size int) string {
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: settings}
	connection, err := dialer.Dial("tcp", address)
	if err != nil {
		return err.Error()
	}
	defer connection.Close()
	must(connection.SetDeadline(time.Now().Add(patience)))
	go connection.Write([]byte(strings.Repeat("hello\n", size/6+1)[:size]))
	buffer := make([]byte, 65536)
	for echoed := 0; ; {
		count, err := connection.Read(buffer)
		echoed += count
		if echoed > 0 && echoed >= size {
			return fmt.Sprint("echoed ", echoed)
		}
		if err == io.EOF {
			return "end of file"
		}
		if err != nil {
			return err.Error()
		}
	}
}

func serve(listener net.Listener, name string) {
	for {
		connection, err := listener.Accept()
		must(err)
		must(connection.SetDeadline(time.Now().Add(patience)))
		echoed, err := io.Copy(connection, connection)
		if err != nil {
			say("saw", name, err.Error())
		} else {
			say("saw", name, fmt.Sprint("echoed ", echoed))
		}
		connection.Close()
	}
}

func main() {
	mode, folder := os.Args[1], os.Args[2]
	if mode == "client" {
		for _, name := range os.Args[4:] {
			parts := strings.Split(name, "/")
			settings := config(folder, "servers.crt", parts[0], parts[1])
			size, err := strconv.Atoi(parts[2])
			must(err)
			times, err := strconv.Atoi(parts[3])
			must(err)
			for i := 0; i < times; i++ {
				say("saw", name, connect("127.0.0.1:"+os.Args[3], settings, size))
			}
		}
		return
	}
	for _, name := range os.Args[3:] {
		parts := strings.Split(name, "/")
		settings := config(folder, "clients.crt", parts[0], parts[1])
		listener, err := tls.Listen("tcp", "127.0.0.1:0", settings)
		must(err)
		say("port", name, fmt.Sprint(listener.Addr().(*net.TCPAddr).Port))
		go serve(listener, name)
	}
	select {}
}
