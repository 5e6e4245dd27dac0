#!/bin/sh
# Train the bundled tiny model from nothing:  lab/tiny/run.sh [--quick] [BUILD_DIR]
# Every step is skipped when its result is there, so it can be stopped and restarted.
# --quick: the same steps in the same order in minutes, to try the way; the model hardly learns anything.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
pace=full
if [ "${1:-}" = --quick ]; then pace=quick; shift; fi
build=${1:-build/tiny}
python=${PYTHON:-/usr/bin/python3}
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1    # we run one process per core instead
mkdir -p "$build"
build=$(cd "$build" && pwd)
cd "$here"

# What one pace has made is no beginning for the other.
[ -e "$build/pace" ] || echo $pace > "$build/pace"
[ "$(cat "$build/pace")" = $pace ] || {
    echo "run.sh: $build was begun at $(cat "$build/pace") pace, not $pace; name another folder or remove it" >&2
    exit 1
}

# amount FULL QUICK: minutes, or how many, at this pace. Whatever is made for each question shrinks with the world.
amount() { [ $pace = full ] && echo "$1" || echo "$2"; }
TINY_EVERY=$(amount 1 30)
export TINY_EVERY

# step NAME COMMAND...: run once, keep the log, mark it done
step() {
    name=$1; shift
    if [ -e "$build/done-$name" ]; then return; fi
    echo "== $name ($(date +%H:%M:%S))"
    "$@" > "$build/log-$name.txt" 2>&1 || { tail -5 "$build/log-$name.txt"; exit 1; }
    tail -1 "$build/log-$name.txt"
    touch "$build/done-$name"
}

# both COMMAND...: two processes of it, told apart by 0 and 1
both() { "$@" 0 2 1 & other=$!; "$@" 1 2 1 && wait $other; }

# -- understanding: encoder, adaptor, LLM ------------------------------------
# Minutes are those of two cores that do nothing else.
step synth    "$python" synth.py "$build"                              # 4 min
step features "$python" features.py "$build" "$(amount 2 1)"           # 1 min
step lm       "$python" train_lm.py "$build" "$(amount 6 0.8)"         # of one core
step encoder  "$python" train_encoder.py "$build" "$(amount 75 1)"
step ahead    both "$python" encode_ahead.py "$build"                  # 8 min
step stage1   "$python" train_stage1.py "$build" "$(amount 45 1)" --heard
step text     "$python" eval_text.py "$build"

# -- speaking: units, vocoder, speech decoder ---------------------------------
step answers  "$python" answers.py "$build" --repeats 12000                            # 3 min
step units    "$python" units.py "$build"                                              # 1 min
step vocoder  "$python" train_vocoder.py "$build" --minutes "$(amount 70 1)"
step ideal    "$python" states.py "$build" ideal - ideal
step first    "$python" first_words.py "$build" "$(amount 2400 100)"
step speak    "$python" train_speech_decoder.py "$build" --states ideal first --test ideal-test \
              --noise 0.3 --rate 1.5e-3 --minutes "$(amount 62 1)" --out decoder-ideal.pt
step typed    "$python" states.py "$build" typed "$build/stage1.pt" typed "$(amount 9000 200)"
step spoken   "$python" states.py "$build" spoken "$build/stage1.pt" spoken "$(amount 9000 200)"
step fresh    "$python" fresh_repeats.py "$build" "$build/stage1.pt" "$(amount 7000 200)"
step stage2   "$python" train_speech_decoder.py "$build" --states typed spoken fresh --test spoken-test \
              --start "$build/decoder-ideal.pt" --fold --noise 0.1 --rate 9e-4 --minutes "$(amount 50 1)" --threads 2 \
              --out decoder.pt
step gguf     "$python" export_gguf.py "$build" "$build/gguf"
step speech   "$python" evaluate_speech.py "$build" --count "$(amount 150 10)"
step unseen   "$python" evaluate_speech.py "$build" --count "$(amount 100 10)" --voices unseen
step demo     "$python" demo_questions.py "$build" "$build/gguf/questions"
step curves   "$python" plot_curves.py "$build" "$build/training.svg"
step speaking "$python" plot_speech.py "$build" "$build/speaking.svg"
