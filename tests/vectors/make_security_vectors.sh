#!/bin/sh
# Makes the files in sshsig/ and x509/ anew: signatures by OpenSSH's own command, and a leaf signed over SHA-1,
# which the cryptography package refuses to make. The private key in sshsig/ is for these tests only.
set -eu
cd "$(dirname "$0")"
scratch=$(mktemp -d)
trap 'rm -r "$scratch"' EXIT

mkdir -p sshsig x509
rm -f sshsig/anna sshsig/anna.pub
ssh-keygen -q -t ed25519 -N '' -C anna -f sshsig/anna
printf 'stage4 vector' > sshsig/message
for hash in sha512 sha256; do
    ssh-keygen -Y sign -n stage4-signoff -O hashalg=$hash -f sshsig/anna < sshsig/message > sshsig/$hash.sig
done
chmod 644 sshsig/anna

curve='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
openssl req -x509 $curve -keyout "$scratch/ca.key" -subj /CN=ca -days 36500 -out x509/sha1-ca.pem \
    -addext keyUsage=critical,keyCertSign
openssl req -new $curve -keyout "$scratch/leaf.key" -subj /CN=leaf -out "$scratch/leaf.csr"
printf 'subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n' > "$scratch/ext"
openssl x509 -req -sha1 -days 36400 -in "$scratch/leaf.csr" -CA x509/sha1-ca.pem -CAkey "$scratch/ca.key" \
    -set_serial 4711 -extfile "$scratch/ext" -out x509/sha1-leaf.pem
