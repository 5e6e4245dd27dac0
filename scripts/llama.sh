#!/bin/sh
# Obtains, checks and builds the pinned llama.cpp (ggml and libllama, static), once per
# machine and set of flags, and prints where it is installed on standard output.
#
#   scripts/llama.sh [--cuda] [--portable] [--rpc] [--sanitize address|thread]
#   scripts/llama.sh --source PATH...     a tar of these files of its source on standard output instead
#
# --portable: for any x86-64-v3 (AVX2, 2013 and later) or any 64-bit Arm, instead of for this machine's CPU.
# --rpc: with the backend that lends a device to other machines, and its server, bin/ggml-rpc-server.
#
# The source is the git bundle inside the npm package below: the complete upstream tree of
# llama.cpp v0.5.0. Everything is kept in ${XDG_CACHE_HOME:-~/.cache}/llama-omni/.
set -eu

version=0.5.0
package=node-llama-cpp@3.22.1
tarball=node-llama-cpp-3.22.1.tgz
integrity='bltIipuWmc123H7tMIgDGKSsSrhmhlQYeVUC48XTjVW7XGJJiJJyCdlTMzQ/LiWoPkGDpcL4FviDpgw7qfTiDw=='

say() { printf '%s\n' "llama.cpp: $*" >&2; }
die() { say "$*"; exit 1; }

cuda=OFF native=ON rpc= sanitize='' source=''
while [ $# -gt 0 ]; do
    case $1 in
        --cuda) cuda=ON ;;
        --portable) native=OFF ;;
        --rpc) rpc=ON ;;
        --sanitize) sanitize=${2:?}; shift ;;
        --source) shift; source=$*; break ;;
        *) die "unknown option $1" ;;
    esac
    shift
done

cc=${CC:-cc} cxx=${CXX:-c++} flags=-g1
[ -z "$sanitize" ] || flags="-g1 -fno-omit-frame-pointer -fsanitize=$sanitize"
options="-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON
-DGGML_NATIVE=$native -DGGML_LLAMAFILE=ON -DGGML_OPENMP=OFF -DGGML_CUDA=$cuda
-DLLAMA_BUILD_IS_DEV=OFF -DLLAMA_BUILD_NUMBER=0 -DLLAMA_BUILD_COMMIT=v$version
-DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
-DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_ALL_WARNINGS=OFF -DLLAMA_OPENSSL=OFF"
[ -z "$rpc" ] || options="$options -DGGML_RPC=ON -DGGML_RPC_RDMA=OFF -DLLAMA_TOOLS_INSTALL=ON"

if [ $native = ON ]; then
    # Native code runs only where the same instructions exist: they are part of the name.
    cpu=$(grep -m1 -E '^(flags|Features)' /proc/cpuinfo 2>/dev/null || uname -m)
else
    cpu=$(uname -m)
    [ "$cpu" != x86_64 ] || options="$options -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
fi
key=$(printf '%s\n' "$options" "$flags" "$cpu" "$($cc --version | head -n1)" | sha256sum | cut -c1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/llama-omni
prefix=$cache/llama-$version-$key

if [ -z "$source" ] && [ -e "$prefix/lib/cmake/llama/llama-config.cmake" ]; then
    printf '%s\n' "$prefix"
    exit 0
fi

hex() { base64 -d | od -An -v -tx1 | tr -d ' \n'; }
wanted=$(printf '%s' "$integrity" | hex)
intact() { [ -e "$1" ] && [ "$(sha512sum "$1" | cut -d' ' -f1)" = "$wanted" ]; }

mkdir -p "$cache"
if [ -z "$source" ] || ! intact "$cache/$tarball"; then
    exec 9> "$cache/lock"
    flock -n 9 || { say "waiting for another build"; flock 9; }
fi
if [ -z "$source" ] && [ -e "$prefix/lib/cmake/llama/llama-config.cmake" ]; then   # built while we waited
    printf '%s\n' "$prefix"
    exit 0
fi

work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

if ! intact "$cache/$tarball"; then
    say "fetching $package"
    (cd "$work" && npm pack --silent "$package" >&2) || die "npm could not fetch $package; is a registry reachable?"
    intact "$work/$tarball" || die "$tarball does not have the pinned SHA-512; not used"
    mv "$work/$tarball" "$cache/$tarball"
fi
tar -xzf "$cache/$tarball" -C "$work" package/llama/gitRelease.bundle
if [ -n "$source" ]; then
    git clone -q --bare "$work/package/llama/gitRelease.bundle" "$work/src" 2>/dev/null || die "the source bundle could not be unpacked"
    # shellcheck disable=SC2086 # source is a list
    git -C "$work/src" archive --format=tar HEAD $source || die "the source has no such file: $source"
    exit 0
fi
git clone -q "$work/package/llama/gitRelease.bundle" "$work/src" 2>/dev/null || die "the source bundle could not be unpacked"
# Of upstream's programs this one alone, which needs nothing but ggml.
[ -z "$rpc" ] || echo 'add_subdirectory(tools/rpc)' >> "$work/src/CMakeLists.txt"

jobs=${OMNI_JOBS:-$(nproc)}
generator='Unix Makefiles'
! command -v ninja >/dev/null || generator=Ninja
say "building with $jobs jobs (about 4 minutes on 2 cores; once)"
log=$work/log
# shellcheck disable=SC2086 # options is a list
cmake -G "$generator" -S "$work/src" -B "$work/build" -DCMAKE_INSTALL_PREFIX="$work/install" \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_C_FLAGS="$flags" -DCMAKE_CXX_FLAGS="$flags" \
    $options > "$log" 2>&1 || { tail -n 30 "$log" >&2; die "could not be configured"; }
cmake --build "$work/build" -j "$jobs" > "$log" 2>&1 &
build=$!
trap 'kill $build 2>/dev/null; exit 1' HUP INT TERM
ticks=0
while kill -0 $build 2>/dev/null; do
    sleep 2
    ticks=$((ticks + 1))
    at=$(tail -c 2000 "$log" | grep -oE '^\[[^]]*\]' | tail -n 1) || at=
    if [ -t 2 ]; then printf '\rllama.cpp: %s   ' "$at" >&2
    elif [ $((ticks % 30)) = 0 ]; then say "$at"; fi
done
[ ! -t 2 ] || printf '\r\033[K' >&2
wait $build || { tail -n 30 "$log" >&2; die "could not be built"; }
cmake --install "$work/build" > "$log" 2>&1 || { tail -n 30 "$log" >&2; die "could not be installed"; }
rm -rf "$prefix"
mv "$work/install" "$prefix"
say "ready in $prefix"
printf '%s\n' "$prefix"
