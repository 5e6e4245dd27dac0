#!/bin/sh
# Builds everything into the folder $1 with the CMake options that follow, and runs all tests.
set -eu
folder=$1
shift
"$(dirname "$0")/setup.sh" test
cmake -G Ninja -S . -B "$folder" --log-level=WARNING "$@"
cmake --build "$folder" -j "$(nproc)"
ctest --test-dir "$folder" --output-on-failure
