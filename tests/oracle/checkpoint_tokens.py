"""A small byte-level BPE with the special tokens of Llama 3, as a Hugging Face checkpoint stores it."""

import json
import re

PROMPT = ("<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nYou are a helpful language and speech assistant. "
          "You are able to understand the speech content that the user provides, and assist the user with a variety of "
          "tasks using natural language.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n",
          "\nPlease directly answer the questions in the user's speech.<|eot_id|>"
          "<|start_header_id|>assistant<|end_header_id|>\n\n")
SPEECH = -200       # stands for all rows of the adaptor

PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
           r"\s*[\r\n]+|\s+(?!\S)|\s+")
WORDS = re.compile(PATTERN.replace(r"[^\s\p{L}\p{N}]", "[^\\sA-Za-z0-9]").replace(r"[^\r\n\p{L}\p{N}]", "[^\\r\\nA-Za-z0-9]")
                   .replace(r"\p{L}", "[A-Za-z]").replace(r"\p{N}", "[0-9]"))      # enough for the prompt

CHAT_TEMPLATE = ("{{- bos_token }}{%- for message in messages %}{{- '<|start_header_id|>' + message['role'] + "
                 "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
                 "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}")


def special_tokens():
    """The 256 of Llama 3.1, in order."""
    named = {0: "begin_of_text", 1: "end_of_text", 4: "finetune_right_pad_id", 6: "start_header_id", 7: "end_header_id",
             8: "eom_id", 9: "eot_id", 10: "python_tag"}
    spare = iter(range(256))
    return [f"<|{named[i]}|>" if i in named else f"<|reserved_special_token_{next(spare)}|>" for i in range(256)]


def byte_characters():
    """The printable character that stands for each byte in a byte-level vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    names = {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}
    return [names[b] for b in range(256)]


BYTES = byte_characters()


def spelt(word):
    return [BYTES[b] for b in word.encode()]


def join(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i:i + 2]) == pair:
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


def learn_merges(text, n):
    """The n pairs that BPE joins, most frequent first; equal ones by text."""
    words, merges = [spelt(w) for w in WORDS.findall(text)], []
    for _ in range(n):
        counts = {}
        for w in words:
            for pair in zip(w, w[1:]):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        words = [join(w, best) for w in words]
    return merges


class Tokenizer:
    """Learned from the prompt. Two of its words are in the vocabulary although no merges lead there: Llama 3 takes
    a whole word that it knows before it looks at merges (ignore_merges)."""

    WHOLE = [" language", "Please"]

    def __init__(self, n_merges):
        text = re.sub(r"<\|[a-z_]+\|>", "", "".join(PROMPT))
        for word in self.WHOLE:
            text = text.replace(word, "")
        self.merges = learn_merges(text, n_merges)
        self.rank = {pair: i for i, pair in enumerate(self.merges)}
        self.ordinary = BYTES + ["".join(pair) for pair in self.merges] + ["".join(spelt(w)) for w in self.WHOLE]
        assert len(set(self.ordinary)) == len(self.ordinary)
        self.first_special = len(self.ordinary)
        self.specials = special_tokens()
        self.id = {t: i for i, t in enumerate(self.ordinary + self.specials)}

    def __len__(self):
        return len(self.id)

    def special(self, name):
        return self.id[f"<|{name}|>"]

    def word(self, text):
        symbols = spelt(text)
        if "".join(symbols) in self.id:
            return [self.id["".join(symbols)]]
        while len(symbols) > 1:
            best = min(zip(symbols, symbols[1:]), key=lambda pair: self.rank.get(pair, len(self.rank)))
            if best not in self.rank:
                break
            symbols = join(symbols, best)
        return [self.id[s] for s in symbols]

    def encode(self, text):
        """Ids with the special tokens read as such, and without a BOS in front."""
        ids = []
        for part in re.split(r"(<\|[a-z_]+\|>)", text):
            ids += [self.id[part]] if part in self.specials else [i for w in WORDS.findall(part) for i in self.word(w)]
        return ids

    def prompt(self):
        """The reference tokenises both sides of the placeholder with a BOS and keeps the first: there are two."""
        before, after = (self.encode(text) for text in PROMPT)
        return [self.special("begin_of_text")] + before + [SPEECH] + after

    def write(self, folder, pairs):
        """tokenizer.json and tokenizer_config.json; pairs: merges as [left, right], as newer libraries write them."""
        added = [{"id": self.id[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                  "normalized": False, "special": True} for t in self.specials]
        begin = "<|begin_of_text|>"
        template = {"type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                    "pair": [{"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                             {"SpecialToken": {"id": begin, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
                    "special_tokens": {begin: {"id": begin, "ids": [self.id[begin]], "tokens": [begin]}}}
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        tokenizer = {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}, byte_level]},
            "post_processor": {"type": "Sequence", "processors": [dict(byte_level, add_prefix_space=True, trim_offsets=False,
                                                                       use_regex=True), template]},
            "decoder": dict(byte_level, add_prefix_space=True, use_regex=True),
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                      "vocab": {t: i for i, t in enumerate(self.ordinary)},
                      "merges": [list(m) if pairs else " ".join(m) for m in self.merges]}}
        config = {"added_tokens_decoder": {str(a["id"]): {k: a[k] for k in a if k != "id"} for a in added},
                  "bos_token": begin, "chat_template": CHAT_TEMPLATE, "clean_up_tokenization_spaces": True,
                  "eos_token": "<|eot_id|>", "model_input_names": ["input_ids", "attention_mask"],
                  "model_max_length": 131072, "tokenizer_class": "PreTrainedTokenizerFast"}
        for name, content in (("tokenizer.json", tokenizer), ("tokenizer_config.json", config)):
            with open(f"{folder}/{name}", "w", encoding="utf-8") as f:
                json.dump(content, f, ensure_ascii=False, indent=2)
