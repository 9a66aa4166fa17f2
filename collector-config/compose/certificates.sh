#!/bin/sh
# Makes an authority and certificates for compose.tls.yaml, in the folder certs beside this file or in the one that is named:
#   sh certificates.sh [FOLDER]
# Valid for two years; run it again to make new ones, and restart the services. Needs OpenSSL 3.
set -eu
folder="${1:-$(dirname "$0")/certs}"
mkdir -p "$folder"
cd "$folder"

new_key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc"
# shellcheck disable=SC2086
openssl req -x509 $new_key -keyout ca.key -out ca.crt -days 3650 -subj "/CN=langflow-telemetry" \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"

for name in langflow otel-collector; do
  mkdir -p "$name"
  # shellcheck disable=SC2086
  openssl req -x509 $new_key -keyout "$name/tls.key" -out "$name/tls.crt" -days 730 -subj "/CN=$name" \
    -CA ca.crt -CAkey ca.key -addext "subjectAltName=DNS:$name,DNS:localhost" \
    -addext "basicConstraints=critical,CA:FALSE" -addext "extendedKeyUsage=serverAuth,clientAuth"
  cp ca.crt "$name/ca.crt"
  # The users of the two images are not this one.
  chmod 644 "$name/tls.key"
done
chmod 600 ca.key
