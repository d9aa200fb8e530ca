// Command receiver is what the benchmarks upload to: HTTP/1.1 and HTTP/2 (net/http) and HTTP/3
// (quic-go) on one port number, and cleartext HTTP/1.1 on another. Nothing of it is trilane's.
//
//	POST /count   reads the body and says how many bytes it had, and over TCP whether the TLS session
//	              was resumed (quic-go does not tell)
//	POST /parts   parses multipart/form-data and says name, size and SHA-256 of each part
//
// It makes its own throw-away certificates, listens on loopback, prints one line of JSON that says
// where, and ends when its standard input does.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/lucas-clemente/quic-go/http3"
)

// bufferBytes is what one read asks for: large enough that reading is not what is measured.
const bufferBytes = 1024 * 1024

// Buffers are kept, for a fresh one per request would be most of the cost of a small one.
var buffers = sync.Pool{New: func() interface{} { return make([]byte, bufferBytes) }}

// Where the receiver can be reached; printed once it can.
type place struct {
	TLS      string `json:"tls"`
	Plain    string `json:"plain"`
	CA       string `json:"ca"`
	Compiler string `json:"compiler"`
}

type part struct {
	Name     string `json:"name"`
	Filename string `json:"filename"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`
}

type reply struct {
	Protocol string `json:"protocol"`
	Bytes    int64  `json:"bytes"`
	Resumed  bool   `json:"resumed"`
	Parts    []part `json:"parts,omitempty"`
}

func main() {
	host := flag.String("host", "127.0.0.1", "IP address to listen on")
	authority := flag.String("ca", "", "file to write the certificate authority to (PEM)")
	flag.Parse()
	certificate, err := makeCertificate(*authority, net.ParseIP(*host))
	if err != nil {
		log.Fatal(err)
	}
	where, err := serve(*host, certificate)
	if err != nil {
		log.Fatal(err)
	}
	where.CA, where.Compiler = *authority, runtime.Version()
	if err := json.NewEncoder(os.Stdout).Encode(where); err != nil {
		log.Fatal(err)
	}
	io.Copy(io.Discard, os.Stdin)
}

// serve starts the servers; each ends the program when it fails.
func serve(host string, certificate tls.Certificate) (place, error) {
	mux := http.NewServeMux()
	mux.HandleFunc("/count", count)
	mux.HandleFunc("/parts", parts)
	plain, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return place{}, err
	}
	stream, datagrams, err := listenBoth(host)
	if err != nil {
		return place{}, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}
	secure := &http.Server{Handler: mux, TLSConfig: config}
	quic := &http3.Server{Handler: mux, TLSConfig: http3.ConfigureTLSConfig(config)}
	go func() { log.Fatal((&http.Server{Handler: mux}).Serve(plain)) }()
	go func() { log.Fatal(secure.ServeTLS(stream, "", "")) }()
	go func() { log.Fatal(quic.Serve(datagrams)) }()
	return place{TLS: stream.Addr().String(), Plain: plain.Addr().String()}, nil
}

// listenBoth opens the same port number for TCP and for UDP.
func listenBoth(host string) (net.Listener, net.PacketConn, error) {
	for try := 0; ; try++ {
		stream, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, nil, err
		}
		datagrams, err := net.ListenPacket("udp", stream.Addr().String())
		if err == nil {
			return stream, datagrams, nil
		}
		stream.Close()
		if try == 10 {
			return nil, nil, err
		}
	}
}

func count(w http.ResponseWriter, r *http.Request) {
	read, err := drain(io.Discard, r.Body)
	resumed := r.TLS != nil && r.TLS.DidResume
	answer(w, reply{Protocol: r.Proto, Bytes: read, Resumed: resumed}, err)
}

func parts(w http.ResponseWriter, r *http.Request) {
	said := reply{Protocol: r.Proto}
	reader, err := r.MultipartReader()
	for err == nil {
		next, nextErr := reader.NextRawPart()
		if nextErr == io.EOF {
			break
		}
		if err = nextErr; err != nil {
			break
		}
		hash := sha256.New()
		var size int64
		size, err = drain(hash, next)
		digest := hex.EncodeToString(hash.Sum(nil))
		said.Parts = append(said.Parts, part{next.FormName(), next.FileName(), size, digest})
		said.Bytes += size
	}
	answer(w, said, err)
}

// drain copies with a kept buffer; hiding the other methods keeps io.Copy from using small ones.
func drain(to io.Writer, from io.Reader) (int64, error) {
	buffer := buffers.Get().([]byte)
	defer buffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buffer)
}

func answer(w http.ResponseWriter, said reply, err error) {
	if err != nil {
		http.Error(w, fmt.Sprintf("after %d bytes: %v", said.Bytes, err), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(said)
}

// makeCertificate makes an authority, writes it to a file, and signs a server certificate with it.
func makeCertificate(authorityPath string, address net.IP) (tls.Certificate, error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	authority := template(1, "trilane benchmark authority")
	authority.IsCA, authority.BasicConstraintsValid = true, true
	authority.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	authorityDER, err := x509.CreateCertificate(
		rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	// Signed by the parsed form, whose key identifier the certificate has to name.
	if authority, err = x509.ParseCertificate(authorityDER); err != nil {
		return tls.Certificate{}, err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authorityDER})
	if err := os.WriteFile(authorityPath, block, 0o644); err != nil {
		return tls.Certificate{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	server := template(2, "localhost")
	server.KeyUsage = x509.KeyUsageDigitalSignature
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	server.DNSNames, server.IPAddresses = []string{"localhost"}, []net.IP{address}
	der, err := x509.CreateCertificate(rand.Reader, server, authority, &key.PublicKey, authorityKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func template(serial int64, name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
	}
}
