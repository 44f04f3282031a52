# shellcheck shell=bash
# A certificate authority of the data folder's own, and one certificate for this machine's loopback names.

make_certificates() {
  local dir=$DATA/tls
  [[ ! -e $dir/server.pem ]] || return 0
  rm -rf "$dir.new" && mkdir -p "$dir.new"
  (
    umask 077
    cd "$dir.new"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=orderworks test authority" \
      -keyout ca.key -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" -keyout server.key -out server.csr
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:127.0.0.2,IP:127.0.0.3\nextendedKeyUsage=serverAuth\n' >server.ext
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile server.ext -out server.pem
    chmod 644 ca.pem server.pem
  ) >>"$DATA/log/install.log" 2>&1 || die "cannot make certificates: see $DATA/log/install.log"
  chmod 755 "$dir.new"
  mv "$dir.new" "$dir"
}

# give_certificate USER DIR: the server's certificate and key as files that only USER reads.
give_certificate() {
  make_certificates
  put "$1" "$2/server.pem" <"$DATA/tls/server.pem"
  put "$1" "$2/server.key" <"$DATA/tls/server.key"
}
