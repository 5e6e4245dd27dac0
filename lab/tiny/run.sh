#!/bin/sh
# Train the bundled tiny model from nothing:  lab/tiny/run.sh [BUILD_DIR]
# Every step is skipped when its result is there, so it can be stopped and restarted.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${1:-build/tiny}
python=${PYTHON:-/usr/bin/python3}
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1    # we run one process per core instead
mkdir -p "$build"
build=$(cd "$build" && pwd)
cd "$here"

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
step synth    "$python" synth.py "$build"                # 4 min
step features "$python" features.py "$build" 2           # 1 min
step lm       "$python" train_lm.py "$build" 6           # of one core
step encoder  "$python" train_encoder.py "$build" 75
step ahead    both "$python" encode_ahead.py "$build"    # 8 min
step stage1   "$python" train_stage1.py "$build" 45 --heard
step text     "$python" eval_text.py "$build"

# -- speaking: units, vocoder, speech decoder ---------------------------------
step answers  "$python" answers.py "$build" --repeats 12000            # 3 min
step units    "$python" units.py "$build"                              # 1 min
step vocoder  "$python" train_vocoder.py "$build" --minutes 70
step ideal    "$python" states.py "$build" ideal - ideal
step first    "$python" first_words.py "$build"
step speak    "$python" train_speech_decoder.py "$build" --states ideal first --test ideal-test \
              --noise 0.3 --rate 1.5e-3 --minutes 62 --out decoder-ideal.pt
step typed    "$python" states.py "$build" typed "$build/stage1.pt" typed 9000
step spoken   "$python" states.py "$build" spoken "$build/stage1.pt" spoken 9000
step fresh    "$python" fresh_repeats.py "$build" "$build/stage1.pt"
step stage2   "$python" train_speech_decoder.py "$build" --states typed spoken fresh --test spoken-test \
              --start "$build/decoder-ideal.pt" --fold --noise 0.1 --rate 9e-4 --minutes 50 --threads 2 --out decoder.pt
step gguf     "$python" export_gguf.py "$build" "$build/gguf"
step speech   "$python" evaluate_speech.py "$build" --count 150
step unseen   "$python" evaluate_speech.py "$build" --count 100 --voices unseen
step demo     "$python" demo_questions.py "$build" "$build/gguf/questions"
