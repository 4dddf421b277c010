#!/usr/bin/env bash
# A certificate authority for one etcd, a certificate for its members, and one for the gputel programs.
#
#   certificates.sh FOLDER [NAME-OR-ADDRESS…]     names and addresses of the members (localhost 127.0.0.1)
#
# Leaves ca.pem server.pem server.key client.pem client.key in FOLDER. Who has ca.key can make more: keep it elsewhere.
set -euo pipefail

folder=${1:?where to}
shift
(($#)) || set -- localhost 127.0.0.1
days=825

names=
for name; do
	kind=DNS
	[[ $name =~ ^[0-9.]+$|: ]] && kind=IP
	names+=${names:+,}$kind:$name
done

mkdir -p "$folder"
cd "$folder"
umask 077

# key NAME: of the curve that TLS libraries agree on best
key() { openssl ecparam -genkey -name prime256v1 -noout -out "$1.key"; }

# certificate NAME USAGE EXTENSIONS…
certificate() {
	key "$1"
	openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
	openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days $days -out "$1.pem" \
		-extfile <(printf '%s\n' "basicConstraints=CA:FALSE" "extendedKeyUsage=$2" "${@:3}") 2>/dev/null
	rm "$1.csr"
}

key ca
openssl req -x509 -new -key ca.key -subj "/CN=gputel etcd" -days $days -out ca.pem
# members are clients of one another, too
certificate server serverAuth,clientAuth "subjectAltName=$names"
certificate client clientAuth
