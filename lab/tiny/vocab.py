"""Token ids of the tiny model: 256 bytes, 5 specials, 3 roles, then words.

In a GGUF file this is a 'gpt2' vocabulary with pre-tokenizer 'llama-bpe' in
which every domain word with its leading space is one token, so the usual
Llama-3 pre-tokenizer cuts a text exactly where `text_ids` does.
"""
import domain

SPECIALS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
            "<|end_header_id|>", "<|eot_id|>"]
ROLES = ["system", "user", "assistant"]
BEGIN, END, START_HEADER, END_HEADER, EOT = range(256, 261)
SYSTEM, USER, ASSISTANT = range(261, 264)
FIRST_WORD = 264


def byte_characters():
    """GPT-2's printable stand-in for each byte value 0..255."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    table = {b: chr(b) for b in plain}
    table.update({b: chr(256 + i) for i, b in enumerate(rest)})
    return [table[b] for b in range(256)]


WORDS = domain.words()
ID = {word: FIRST_WORD + i for i, word in enumerate(WORDS)}
SIZE = FIRST_WORD + len(WORDS)


def tokens():
    """All token strings in id order, in GGUF spelling (space written as Ġ)."""
    return byte_characters() + SPECIALS + ROLES + ["\u0120" + w for w in WORDS]


def text_ids(text):
    return [ID[word] for word in text.split()]


def ids_text(ids):
    return " ".join(WORDS[i - FIRST_WORD] for i in ids if i >= FIRST_WORD)


def turn_head(first):
    """Ids before what the user says; <|begin_of_text|> opens the first turn only."""
    return [BEGIN] * first + [START_HEADER, USER, END_HEADER]


TURN_TAIL = [EOT, START_HEADER, ASSISTANT, END_HEADER]
