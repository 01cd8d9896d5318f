#!/bin/sh
# One page by Chromium without a window: URL CA FOLDER; 1 if it did not come.
# Its trust anchors are those of NSS, whose place depends on the version.
home=$(mktemp -d -p "$3") || exit 2
export HOME="$home" XDG_DATA_HOME="$home/.local/share"
for store in "$HOME/.pki/nssdb" "$XDG_DATA_HOME/pki/nssdb"; do
  mkdir -p "$store"
  certutil -N -d "sql:$store" --empty-password || exit 2
  # NSS takes one certificate of a file.
  certutil -A -d "sql:$store" -n gallery -t C,, -i "$2" || exit 2
done
[ "$(id -u)" = 0 ] && sandbox=--no-sandbox # as root it has none
timeout 15 chromium --headless $sandbox --disable-gpu --disable-quic --no-first-run \
  --disable-background-networking --disable-component-update --disable-sync \
  --user-data-dir="$home/profile" --dump-dom "$1" 2>"$home/errors" | grep -o 'mtls-echo gallery[^<]*'
shown=$?
grep -o 'net_error -[0-9]*' "$home/errors" | head -1
rm -rf "$home"
exit $shown
