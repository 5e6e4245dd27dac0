"""The whole tiny model in torch: sound in, text and sound out. The yardstick for the C."""

import torch

import features
import model
import speech_decoder
import vocab
import vocoder

LONGEST = 40      # answer tokens


def load_listener(work):
    """Encoder, adaptor and Llama as stage 1 left them."""
    saved = torch.load(f"{work}/stage1.pt", map_location="cpu")
    encoder, adaptor, llm = model.Encoder(), model.Adaptor(), model.Llama(vocab.SIZE)
    encoder.load_state_dict(saved["encoder"])
    adaptor.load_state_dict(saved["adaptor"])
    llm.load_state_dict(saved["llm"])
    return encoder.eval(), adaptor.eval(), llm.eval()


class Machine:
    def __init__(self, work):
        self.encoder, self.adaptor, self.llm = load_listener(work)
        self.decoder = speech_decoder.load(f"{work}/decoder.pt")
        self.vocoder = vocoder.load(f"{work}/vocoder.pt")

    @torch.no_grad()
    def hear(self, wave):
        """Float samples -> the rows that stand for the question in the prompt."""
        return self.adaptor(self.encoder(features.log_mel(wave).T.unsqueeze(0)))[0]

    @torch.no_grad()
    def reply(self, question):
        """Rows of a question -> (answer text, the states that predicted its tokens)."""
        head, tail = (self.llm.embed(torch.tensor(ids)) for ids in (vocab.turn_head(True), vocab.TURN_TAIL))
        rows, past, at = torch.cat([head, question, tail]).unsqueeze(0), [{} for _ in self.llm.model.layers], 0
        ids, states = [], []
        while len(ids) < LONGEST:
            state = self.llm(rows, positions=at, past=past)[0, -1]
            at += rows.shape[1]
            states.append(state)
            ids.append(int(self.llm.lm_head(state).argmax()))
            if ids[-1] in (vocab.EOT, vocab.END):
                break
            rows = self.llm.embed(torch.tensor([[ids[-1]]]))
        return vocab.ids_text(ids), torch.stack(states)

    def typed(self, question):
        return self.llm.embed(torch.tensor(vocab.text_ids(question))).detach()

    def say(self, states):
        """States -> float sound."""
        units = self.decoder.units(states)
        return self.vocoder.speak(units or [0])
