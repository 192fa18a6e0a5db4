"""all-MiniLM-L6-v2 (Apache-2.0): one small encoder for search and for the starter's prompts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.cores import all_cores
from .chunks import Marks, Row, moved, rows, weighed
from .prompt_syntax import segments

if TYPE_CHECKING:
    import numpy as np
    import torch

WEIGHTS = Path(__file__).parent / "weights"
MODEL_FILE = WEIGHTS / "minilm-int8.safetensors"
TOKENIZER_FILE = WEIGHTS / "tokenizer.json"

PROMPT_TOKENS = 32
"""Tokens of an encoded prompt, start and end marks included; longer prompts are cut."""

WIDTH = 384

MARKS = Marks(start=101, end=102, pad=0, length=PROMPT_TOKENS)
"""[CLS], [SEP] and [PAD] in BERT's vocabulary (bert-base-uncased, vocab.txt)."""

# From the model's own config.json.
BERT_CONFIG: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": WIDTH,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}
# From the model's own sentence_bert_config.json.
MAX_SENTENCE_TOKENS = 256
BATCH = 64
FEW = 16


class Encoder:
    """MiniLM on the CPU, in float32. Make one with `encoder()`, which keeps it."""

    def __init__(self) -> None:
        from tokenizers import Tokenizer
        from transformers.models.bert import BertConfig, BertModel

        from .quantized import load_quantized

        # Never cut or padded by the tokenizer, whose settings all threads would share.
        self._tokenizer = Tokenizer.from_file(str(TOKENIZER_FILE))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._model = BertModel(BertConfig(**BERT_CONFIG), add_pooling_layer=False)
        self._model.eval()
        self.load_weights(load_quantized(MODEL_FILE))

    def load_weights(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take other weights of the same shape, by the original's names."""
        missing = self._model.load_state_dict(tensors, strict=False).missing_keys
        if missing:
            raise ValueError(f"weights without {', '.join(missing)}")

    def embed(self, sentences: Sequence[str]) -> np.ndarray:
        """Mean-pooled, unit-length meaning of each sentence: float32, (len(sentences), 384)."""
        import numpy as np
        import torch

        found = np.zeros((len(sentences), WIDTH), np.float32)
        tokens = self._tokens(sentences, MAX_SENTENCE_TOKENS)
        for group in alike([len(one) for one in tokens]):
            mean = self._means([tokens[at] for at in group])
            found[group] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return found

    def encode(self, prompts: Sequence[str]) -> torch.Tensor:
        """The last hidden states of each prompt: float32, (len(prompts), 32, 384).

        Padded positions hold what the model gives for them; the starter was trained so.
        """
        import torch

        if not prompts:
            return torch.zeros(0, PROMPT_TOKENS, WIDTH)
        parts = []
        for start in range(0, len(prompts), BATCH):
            tokens = self._tokens(prompts[start : start + BATCH], PROMPT_TOKENS)
            parts.append(self._states(*_padded(tokens, PROMPT_TOKENS)))
        return torch.cat(parts)

    def encode_weighed(self, prompts: Sequence[str]) -> torch.Tensor:
        """As `encode`, but with weights and escapes as ComfyUI reads them (`prompt_syntax`).

        What does not fit into the first row of tokens is left out. Raises InputError
        `request_invalid`.
        """
        import torch

        found = [self.row(prompt) for prompt in prompts]
        ids = [[token for token, _ in row] for row in found]
        if weighed(found):
            ids.append(MARKS.empty)
        tokens = torch.tensor(ids)
        # As ComfyUI masks them: up to the first end mark.
        ends = (tokens == MARKS.end).int().argmax(1, keepdim=True)
        states = self._states(tokens, (torch.arange(PROMPT_TOKENS) <= ends).long())
        if not weighed(found):
            return states
        return moved(states[:-1], states[-1], found)

    def row(self, prompt: str) -> Row:
        """The tokens of a prompt that are read, with their weights."""

        def tokenize(text: str) -> list[int]:
            return self._tokenizer.encode(text, add_special_tokens=False).ids

        return rows(segments(prompt), tokenize, MARKS)[0]

    def count_tokens(self, prompt: str) -> int:
        """How many tokens a prompt takes, start and end marks included."""
        return len(self._tokenizer.encode(prompt).ids)

    def _tokens(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """Each text's tokens, at most `limit`, the end mark always among them."""
        every = [one.ids for one in self._tokenizer.encode_batch(list(texts))]
        return [ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]] for ids in every]

    def _means(self, tokens: Sequence[list[int]]) -> torch.Tensor:
        """The mean of each text's states."""
        import torch

        if len(tokens) < FEW and sum(map(len, tokens)) <= MAX_SENTENCE_TOKENS:
            states, text_of = self._states_in_a_row(tokens)
            sums = torch.zeros(len(tokens), WIDTH).index_add_(0, text_of, states)
            return sums / torch.bincount(text_of).unsqueeze(1)
        ids, mask = _padded(tokens)
        weights = mask.unsqueeze(-1).float()
        return (self._states(ids, mask) * weights).sum(1) / weights.sum(1)

    def _states_in_a_row(self, tokens: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """All texts' states one behind the other, without padding, and whose each is.

        Every token attends to those of its own text, and counts its place in it.
        """
        import torch

        text_of = torch.tensor([text for text, ids in enumerate(tokens) for _ in ids])
        places = torch.tensor([[place for ids in tokens for place in range(len(ids))]])
        ids = torch.tensor([[token for ids in tokens for token in ids]])
        others = text_of.unsqueeze(0) != text_of.unsqueeze(1)
        bias = torch.zeros(others.shape).masked_fill_(others, torch.finfo(torch.float32).min)
        with torch.inference_mode():
            # The model itself takes no such mask in some versions of transformers.
            hidden = self._model.embeddings(input_ids=ids, position_ids=places)
            states = self._model.encoder(hidden, attention_mask=bias[None, None]).last_hidden_state
        return states[0].clone(), text_of

    def _states(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            return self._model(input_ids=ids, attention_mask=mask).last_hidden_state.clone()


def _padded(tokens: Sequence[list[int]], length: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask) of (texts, tokens), as long as the longest, `length` at least."""
    import torch

    length = max(length, *(len(ids) for ids in tokens))
    ids = torch.tensor([[*ids, *[0] * (length - len(ids))] for ids in tokens])
    lengths = torch.tensor([[len(ids)] for ids in tokens])
    return ids, (torch.arange(length) < lengths).long()


def alike(lengths: Sequence[int]) -> list[list[int]]:
    """Places of texts that are worth computing together, shortest first, at most `BATCH` each.

    A batch is as long as its longest text, so that short ones beside it cost as much; but a few
    texts cost less together, because each batch reads all weights.
    """
    groups: list[list[int]] = []
    shortest = 0
    for at in sorted(range(len(lengths)), key=lengths.__getitem__):
        many = len(groups[-1]) if groups else BATCH
        if many == BATCH or (many >= FEW and lengths[at] > 1.5 * shortest):
            groups.append([])
            shortest = lengths[at]
        groups[-1].append(at)
    return groups


@lru_cache(maxsize=1)
@all_cores()
def encoder() -> Encoder:
    """The encoder of this process, loaded on the first call."""
    return Encoder()


@all_cores()
def embed(sentences: Sequence[str]) -> np.ndarray:
    """Unit-length meanings of sentences; see `Encoder.embed`."""
    return encoder().embed(sentences)


@all_cores()
def encode(prompts: Sequence[str]) -> torch.Tensor:
    """Token states of prompts; see `Encoder.encode`."""
    return encoder().encode(prompts)


@all_cores()
def encode_weighed(prompts: Sequence[str]) -> torch.Tensor:
    """Token states of prompts with weights; see `Encoder.encode_weighed`."""
    return encoder().encode_weighed(prompts)


def release() -> None:
    """Let go of the weights, about 90 MB; the next call loads them again."""
    encoder.cache_clear()
