#!/bin/sh
# Installs the Debian packages that are missing for: build | test | fuzz | tiny | deb | package (each includes build).
set -eu

packages='ca-certificates gcc g++ make cmake ninja-build pkg-config git libsndfile1-dev libsoxr-dev libjansson-dev libssl-dev libcurl4-openssl-dev libmicrohttpd-dev libwslay-dev libgnutls28-dev portaudio19-dev libspeexdsp-dev'
case ${1:-build} in
    build) ;;
    test) packages="$packages nginx-light nodejs chromium openssl man-db groff-base libcmocka-dev python3-numpy python3-scipy python3-torch libopenblas0-pthread pocketsphinx pocketsphinx-en-us" ;;
    fuzz) packages="$packages clang libcmocka-dev python3-numpy" ;;
    tiny) packages="$packages python3-numpy python3-scipy python3-matplotlib python3-torch libopenblas0-pthread flite espeak-ng festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts pocketsphinx pocketsphinx-en-us" ;;
    deb) packages="$packages file dpkg-dev" ;;
    package) packages="$packages file dpkg-dev python3 debootstrap lintian systemd" ;;
    *) echo "setup: unknown purpose $1" >&2; exit 1 ;;
esac
# Debian's npm brings hundreds of packages: only when there is no npm, and only to fetch llama.cpp.
command -v npm >/dev/null || packages="$packages npm"

missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "setup: installing$missing" >&2
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # lists
install() { $as_root apt-get install -qq -y --no-install-recommends $missing >/dev/null; }
install 2>/dev/null || { $as_root apt-get update -qq; install; }
