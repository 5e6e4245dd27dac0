"""A model that calls functions, made by hand: every weight of its LLM is set, nothing is learnt.

    python3 tools_oracle.py OUT_DIR

Writes OUT_DIR/toy-F32.gguf and OUT_DIR/toy-speech-F32.gguf. What it answers, always:

    nobody told it of functions                     hello there
    it was told, by what prompt.tools says          {"name": "get_weather", "parameters": {"city": "Paris"}}
    told, and the word "both" was in a question     that; {"name": "get_weather", "parameters": {"city": "Rome"}}
    something has " returned: " in it               it is mild

How: a token is a direction of the stream of its own, most tokens share one. Attention looks at everything alike and
brings into three further directions what share of the past was <tools>, both and returned. The one layer's hidden units
are ANDs of such a share and the token at hand (silu(share) * token), so a share matters only where there is something
to decide; each adds to a direction that the output matrix reads as a token. Elsewhere it reads from the token at hand
which one follows.
"""

import os
import sys

import numpy as np

import session_oracle
import toy

WIDTH, LIT = 64, 8.0            # a lit direction alone has LIT after the norm: sqrt(WIDTH)

CALL, PARIS, CLOSE = '{"name": "get_weather", "parameters": {"city": "', "Paris", '"}}'
SECOND = '{"name": "get_weather", "parameters": {"city": "Rome"}}'
PIECES = ["<tools>", "both", " returned: ", "hello", " there", CALL, PARIS, CLOSE, "; ", SECOND, "it is", " mild"]
VOCABULARY = toy.VOCABULARY + PIECES
ID = {token: i for i, token in enumerate(VOCABULARY)}
TOLD, BOTH, RETURNED = PIECES[:3]
ASKED, END = toy.SPECIALS[3], toy.SPECIALS[1]       # what stands before an answer; what ends it

OTHER = 0                                           # the direction of all other tokens
OWN = {token: 1 + i for i, token in enumerate([ASKED, *PIECES])}
SHARE = {token: 30 + i for i, token in enumerate([TOLD, BOTH, RETURNED])}
# (a share, the token at hand) -> the token that follows then; where two apply the later is louder
DECISIONS = [(TOLD, ASKED, CALL), (BOTH, CLOSE, "; "), (RETURNED, ASKED, "it is")]
DECIDED = {decision: 40 + i for i, decision in enumerate(DECISIONS)}
FOLLOWS = {ASKED: "hello", "hello": " there", " there": END, CALL: PARIS, PARIS: CLOSE, CLOSE: END, "; ": SECOND, SECOND: END,
           "it is": " mild", " mild": END}


def weights():
    def zeros(*shape):
        return np.zeros(shape, np.float32)

    w = {"token_embd.weight": zeros(len(VOCABULARY), WIDTH), "output.weight": zeros(len(VOCABULARY), WIDTH),
         "output_norm.weight": np.ones(WIDTH, np.float32)}
    for name in ("attn_norm", "ffn_norm"):
        w[f"blk.0.{name}.weight"] = np.ones(WIDTH, np.float32)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        w[f"blk.0.{name}.weight"] = zeros(WIDTH, WIDTH)
    for name, shape in (("ffn_gate", (16, WIDTH)), ("ffn_up", (16, WIDTH)), ("ffn_down", (WIDTH, 16))):
        w[f"blk.0.{name}.weight"] = zeros(*shape)
    for token, i in ID.items():
        w["token_embd.weight"][i, OWN.get(token, OTHER)] = LIT
    for token, share in SHARE.items():
        w["blk.0.attn_v.weight"][share, OWN[token]] = 1
        w["blk.0.attn_output.weight"][share, share] = 2000      # one position in 2000 is as loud as a token
    for unit, (share, at_hand, _) in enumerate(DECISIONS):
        w["blk.0.ffn_gate.weight"][unit, SHARE[share]] = 1
        w["blk.0.ffn_up.weight"][unit, OWN[at_hand]] = 1
        w["blk.0.ffn_down.weight"][DECIDED[DECISIONS[unit]], unit] = 1000
    for token, after in FOLLOWS.items():
        w["output.weight"][ID[after], OWN[token]] += 1
    for i, decision in enumerate(DECISIONS):
        w["output.weight"][ID[decision[2]], DECIDED[decision]] = 10 ** i
    return w


def main(folder):
    llm, hp = session_oracle.shape()
    for key, value in dict(width=WIDTH, heads=1, kv=1, layers=1, ff=16).items():
        setattr(llm, key, value)
    speech = toy.speech_weights(np.random.default_rng(11), hp)
    for name in ("adaptor.2.weight", "adaptor.2.bias"):         # what was spoken is one more of the other tokens
        speech[name][OTHER + 1:] = 0
    speech["adaptor.2.bias"][OTHER] = LIT
    os.makedirs(folder, exist_ok=True)
    toy.write_llm(os.path.join(folder, "toy-F32.gguf"), llm, weights(), VOCABULARY, context=4096)
    toy.write_speech(os.path.join(folder, "toy-speech-F32.gguf"), hp, speech,
                     [("prompt.tools", "<tools>{tools}</tools>")])


if __name__ == "__main__":
    main(sys.argv[1])
