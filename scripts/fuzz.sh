#!/bin/sh
# Builds the fuzzers into the folder $1 (clang, address and undefined sanitizers) and runs each for $2
# seconds on its corpus. What it finds is left in $1/found; new inputs in $1/corpus. One that finds something does not
# keep the others from running; it is the exit status that tells.
set -eu
folder=$1 seconds=$2
CC=clang CXX=clang++ cmake -G Ninja -S . -B "$folder" -DOMNI_FUZZ=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo --log-level=WARNING
cmake --build "$folder" -j "$(nproc)" --target fuzzers
mkdir -p "$folder/found"
found=
for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c | sed 's/^fuzz_//')
    mkdir -p "$folder/corpus/$name"
    echo "fuzz: $name for $seconds s" >&2
    "$folder/fuzz/fuzz-$name" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=2048 -close_fd_mask=3 \
        -artifact_prefix="$folder/found/$name-" -print_final_stats=1 "$folder/corpus/$name" "tests/fuzz/corpus/$name" || found="$found $name"
done
if [ -n "$found" ]; then
    echo "fuzz: something was found by$found: see $folder/found" >&2
    exit 1
fi
