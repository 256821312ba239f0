import pytest
import torch

from recray.candidates import sequence_training
from recray.candidates.sequence_model import Encoder, outputs
from recray.settings import SequenceSettings

NO_GAPS = torch.zeros((1, 1), dtype=torch.int64)
CONFIG = SequenceSettings(dim=8, heads=2, max_length=6, dropout=0.0, request_time=False)


def make_encoder() -> Encoder:
    return Encoder(20, CONFIG, torch.Generator().manual_seed(0)).eval()


def test_the_rate_rises_then_falls_to_nothing() -> None:
    rates = [sequence_training._rate(step, 100) for step in range(101)]
    assert max(rates) == 1
    assert rates[:5] == sorted(rates[:5])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[0] > 0
    assert rates[100] == 0


def test_loss_in_chunks_has_the_gradients_of_the_loss_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sequence_training._LOGIT_CELLS, "cpu", 40)
    monkeypatch.setattr(sequence_training, "product_type", lambda device: torch.float32)
    titles, target = torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([2, 3, 4, 5, 6])
    gradients = []
    for chunked in (True, False):
        encoder = make_encoder()
        vectors = encoder(titles, NO_GAPS, encoder.table())[0]
        if chunked:
            total = sequence_training._backward(vectors, outputs(encoder.table()), target)
        else:
            loss = torch.nn.functional.cross_entropy(vectors @ outputs(encoder.table()).T, target)
            loss.backward()
            assert total == pytest.approx(5 * loss.item(), rel=1e-5)
        gradients.append([weight.grad for weight in encoder.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_loss_in_bfloat16_has_nearly_the_gradients_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for kind in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(sequence_training, "product_type", lambda device, kind=kind: kind)
        encoder = make_encoder()
        vectors = encoder(torch.tensor([[1, 2, 3, 4, 5]]), NO_GAPS, encoder.table())[0]
        total = sequence_training._backward(vectors, outputs(encoder.table()), torch.tensor([2, 3, 4, 5, 6]))
        found.append((total, torch.cat([weight.grad.flatten() for weight in encoder.parameters() if weight.grad is not None])))
    (exact, gradient), (rounded, near) = found
    assert rounded == pytest.approx(exact, rel=0.02)
    assert torch.nn.functional.cosine_similarity(gradient, near, dim=0) > 0.999
