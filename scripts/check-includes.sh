#!/bin/sh
# Who may include whom, which calls are banned, how long things may be. Exit 1 and a line per offence.
cd "$(dirname "$0")/.." || exit 1
status=0
# offence TEXT: complains about each line of standard input
offence() { while IFS= read -r line; do echo "$1: $line"; echo x >> "$count"; done; }
count=$(mktemp)
trap 'rm -f "$count"' EXIT

# only HEADER ALLOWED...: HEADER is included by the allowed files alone
only() {
    header=$1; shift
    grep -rlE "#include [<\"]$header[>\"]" src apps $also --include='*.[ch]' | while IFS= read -r file; do
        case " $* " in *" $file "*) ;; *) echo "$file includes $header" ;; esac
    done | offence "one includer"
}
also=lab
only llama.h src/stage/lm.c lab/convert/llm-quantize.c
only openssl/evp.h lab/convert/digest.c
also=
only gguf.h src/base/weights.c src/base/metadata.c
only ggml-backend.h src/base/graph.c src/base/rpc.c
only ggml-rpc.h src/base/rpc.c
only ggml-alloc.h src/base/graph.c
only ggml-cpu.h src/base/graph.c

grep -nE '#include "(stage|core|apps)/' src/base/*.[ch] | offence "base knows nothing above it"
grep -nE '#include "(core|apps)/' src/stage/*.[ch] 2>/dev/null | offence "a stage knows nothing above it"
grep -nE '#include "(apps|lab)/' src/core/*.[ch] 2>/dev/null | offence "core knows nothing above it"
grep -rnE '#include "(base|stage|core)/' apps --include='*.[ch]' | offence "apps see omni.h alone"
# encoder-cpu.c may include encoder*.h and no other stage's headers
for file in src/stage/*.[ch]; do
    case $file in
        */speech-decoder*) own=speech-decoder ;;
        *) own=$(basename "$file" | sed 's/[-.].*//') ;;
    esac
    grep -nE '#include "stage/' "$file" | grep -vE "\"stage/$own[-.]" | sed "s|^|$file:|" | offence "stages do not know each other"
done
grep -rnE '\b(sprintf|vsprintf|strcpy|strcat|gets|atoi|alloca)\(' src apps lab examples --include='*.[ch]' | offence "banned call"
grep -nE '(^|[^A-Za-z_>.])(printf|fprintf|puts|exit|abort|pthread_create)\(' src/*/*.c | offence "the library does not print, exit or start threads"
find src apps lab examples tests \( -name '*utils*' -o -name '*common*' -o -name '*helper*' -o -name '*misc*' -o -name '*manager*' \) |
    offence "a name that says nothing"

# Files of at most 900 lines, functions of at most 100 unless "long:" in the comment before says why.
for file in $(find src apps lab -name '*.[ch]'); do
    awk -v file="$file" '
        /^[A-Za-z].*\(/ && !/;$/ { name = $0 }
        /long:/ { excused = NR }
        /^{/ { start = NR }
        /^}/ { if (start && NR - start > 101 && start - excused > 12) print file ": " NR - start - 1 " lines: " name; start = 0 }
        END { if (NR > 900) print file ": " NR " lines" }' "$file"
done | offence "too long"
[ ! -s "$count" ]
