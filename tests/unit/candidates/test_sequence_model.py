import numpy as np
import pytest
import torch

from recray.candidates import sequence
from recray.candidates.registered import fit_all
from recray.candidates.sequence_judge import Judge
from recray.candidates.sequence_model import Dropout, Encoder, outputs
from recray.candidates.sequence_serving import LastVectors, _exp, _gelu
from recray.candidates.sequence_windows import N_GAPS, gap_size
from recray.schema import Ints, Tensors
from recray.settings import SequenceSettings, resolve
from worlds import AS_OF_S, ask_for, interactions_of, make_world

NO_GAPS = torch.zeros((1, 1), dtype=torch.int64)
CONFIG = SequenceSettings(dim=8, heads=2, max_length=6, batch_size=8, epochs=3, patience=2, dropout=0.0)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def make_encoder(n_items: int = 20, *, request_time: bool = False) -> Encoder:
    config = CONFIG.model_copy(update={"request_time": request_time})
    return Encoder(n_items, config, torch.Generator().manual_seed(0)).eval()


def tensors_of(encoder: Encoder) -> Tensors:
    """What a source is made of whose every title was watched."""
    return {name: weight.numpy() for name, weight in encoder.state_dict().items()} | {
        "offset": np.zeros(encoder.titles.num_embeddings - 1, np.float32)
    }


def no_gaps(history: Ints) -> Ints:
    return np.zeros_like(history)


def test_the_source_reads_the_times_of_the_history_and_of_the_request() -> None:
    world = make_world(n_circles=2, n_profiles=4)
    config = CONFIG.model_copy(update={"request_time": True})
    encoder = make_encoder(world.items.n, request_time=True)
    with torch.no_grad():
        encoder.gaps.weight.normal_(generator=torch.Generator().manual_seed(2))
    source = sequence.Sequence(tensors_of(encoder), config)
    titles = [3, 1, 2]
    day = ask_for(world.items, [titles], now_s=np.array([AS_OF_S + 86_400 - 3_600]))
    found = source.retrieve(day, 5)
    gaps = torch.from_numpy(gap_size(np.array([[3_600, 3_600, 86_400]])).astype(np.int64))
    with torch.no_grad():
        scores = encoder(torch.tensor([titles]), gaps, encoder.table())[0, -1] @ outputs(encoder.table()).bfloat16().float().T
    np.testing.assert_allclose(found.scores[0], scores.numpy()[found.items[0]], rtol=1e-3, atol=1e-4)
    soon = ask_for(world.items, [titles], now_s=np.array([AS_OF_S]))
    assert not np.allclose(source.retrieve(soon, 5).scores, found.scores)


def test_dropout_keeps_the_mean_and_its_share_of_values_and_does_nothing_when_serving() -> None:
    torch.manual_seed(0)
    x, dropout = torch.ones(100_003, requires_grad=True), Dropout(0.25)
    found = dropout(x)
    found.sum().backward()
    assert float((found == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert found.detach().unique().tolist() == pytest.approx([0, 4 / 3])
    assert x.grad is not None
    torch.testing.assert_close(x.grad, found.detach())
    assert dropout.eval()(x) is x


def test_a_vector_depends_on_nothing_that_comes_later() -> None:
    encoder = make_encoder()
    first = encoder(torch.tensor([[1, 2, 3, 4]]), NO_GAPS, encoder.table())
    other = encoder(torch.tensor([[1, 2, 9, 20]]), NO_GAPS, encoder.table())
    torch.testing.assert_close(first[:, :2], other[:, :2])
    assert not torch.allclose(first[:, 2], other[:, 2])


@pytest.mark.parametrize("request_time", [False, True])
def test_last_vector_is_the_last_of_all_vectors(request_time: bool) -> None:
    encoder = make_encoder(request_time=request_time)
    with torch.no_grad():
        for parameter in encoder.parameters():  # a norm that scales by 1 and shifts by 0 would hide what is folded into weights
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
        serving = LastVectors.of(tensors_of(encoder))
        for titles in ([5, 3, 8, 1, 2], [7]):
            gaps = [3 * place % N_GAPS if request_time else 0 for place in range(len(titles))]
            found = serving(np.array([[*reversed(titles), -1]], np.int32), np.array([[*reversed(gaps), 0]], np.int32))[0]
            expected = encoder(torch.tensor([titles]), torch.tensor([gaps]), encoder.table())[0, -1]
            torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-5)


def test_last_vectors_of_a_batch_are_those_of_its_histories_and_nothing_is_known_of_an_empty_one() -> None:
    serving = LastVectors.of(tensors_of(make_encoder()))
    histories = np.array([[1, 2, 3, -1], [-1, -1, -1, -1], [4, -1, 5, 6]], np.int32)
    together = serving(histories, no_gaps(histories))
    alone = [serving(history[None], no_gaps(history[None])) for history in histories]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    np.testing.assert_array_equal(together[2], serving(np.array([[4, 5, 6]], np.int32), np.zeros((1, 3), np.int32))[0])
    assert not together[1].any()


@pytest.mark.parametrize("value", [-90.0, -30.0, -1.5, 0.0, 1e-6, 3.25, 20.0])
def test_the_compiled_exponential_is_the_exponential(value: float) -> None:
    assert _exp(np.float32(value)) == pytest.approx(np.exp(max(np.float32(value), np.float32(-87))), rel=3e-7)


def test_the_compiled_gelu_is_that_of_torch() -> None:
    values = np.linspace(-12, 12, 4_001).astype(np.float32)
    found = values.copy()
    _gelu(found)
    np.testing.assert_allclose(found, torch.nn.functional.gelu(torch.from_numpy(values)).numpy(), rtol=1e-5, atol=1e-6)


def test_judge_asks_for_validation_titles_after_their_true_prefix() -> None:
    known, later = interactions_of([[1, 2, 3], [], [4]], 10), interactions_of([[5, 2, 6], [7], [4]], 10, since_s=AS_OF_S)
    judge = Judge.of(known, later, 4, np.random.default_rng(0))
    asked = [
        judge.asked.item[start : start + length].tolist()
        for start, length in zip(judge.asked.start, judge.asked.length, strict=True)
    ]
    assert asked == [[1, 2, 3, 5], [1, 2, 3, 5, 6]]


def test_judge_gives_one_for_titles_ranked_first_and_leaves_out_the_prefix() -> None:
    known, later = interactions_of([[1, 2]], 20), interactions_of([[3]], 20, since_s=AS_OF_S)
    judge = Judge.of(known, later, 6, np.random.default_rng(0))
    encoder = make_encoder()
    with torch.no_grad():
        encoder.titles.weight.zero_()
        encoder.titles.weight[2, 0] = 1
        vector = encoder(torch.tensor([[1, 2]]), NO_GAPS, encoder.table())[0, -1]
        aside = torch.linspace(-1, 1, vector.numel())
        encoder.titles.weight[3] = vector + 4 * aside
        assert judge.ndcg(encoder) == 1
        encoder.titles.weight[[7, 8]] = vector + aside
        assert judge.ndcg(encoder) == pytest.approx(0.5)
        encoder.titles.weight[5:18] = vector + aside
        assert judge.ndcg(encoder) == 0


def test_training_stops_when_patience_ends_and_keeps_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(n_circles=2, n_profiles=20)
    judged = iter([0.1, 0.3, 0.2, 0.2, 0.9])
    weights = []

    def ndcg(self: Judge, encoder: Encoder) -> float:
        weights.append(encoder.table().detach().clone())
        return next(judged)

    monkeypatch.setattr(Judge, "ndcg", ndcg)
    figures: list[dict[str, float]] = []
    config = CONFIG.model_copy(update={"epochs": 5})
    source = sequence.fit(world.interactions, world.items, config, seed=0, report=figures.append, validation=world.validation)
    assert [f["epoch"] for f in figures] == [1, 2, 3, 4]
    np.testing.assert_array_equal(source.tensors()["titles.weight"][:-1], weights[1].numpy()[:-1])


def test_loss_falls_and_progress_is_reported_by_source() -> None:
    world = make_world(n_circles=2, n_profiles=40)
    reported: list[tuple[str, dict[str, float]]] = []
    settings = resolve({"sequence": CONFIG.model_dump()})
    fitted = fit_all(world.interactions, world.items, settings, seed=0, device="cpu", only=["sequence", "popular"],
                     report=lambda name, seconds, figures: reported.append((name, figures)))  # fmt: skip
    assert list(fitted) == ["popular", "sequence"]
    assert [name for name, _ in reported] == ["popular", *["sequence"] * 4]
    losses = [figures["loss"] for _, figures in reported if figures]
    assert losses[0] > losses[-1]
    assert "ndcg@10" not in reported[1][1]


def test_no_history_at_all_gives_a_source_that_still_answers() -> None:
    world = make_world(n_circles=2, n_profiles=4)
    source = sequence.fit(interactions_of([[], [3]], world.items.n), world.items, CONFIG, seed=0)
    assert np.isfinite(source.retrieve(world.ask([0]), 3).scores).all()


@pytest.mark.parametrize("name", ["positions.weight", "gaps.weight", "blocks.0.back.weight"])
def test_tensors_of_other_shapes_than_the_settings_make_are_refused(name: str) -> None:
    world = make_world(n_circles=2, n_profiles=4)
    config = CONFIG.model_copy(update={"request_time": True}).model_dump(mode="json")
    tensors = tensors_of(make_encoder(world.items.n, request_time=True))
    assert sequence.Sequence.restore(tensors, config, world.items)
    with pytest.raises(ValueError, match=f"has tensors of shapes .*{name}"):
        sequence.Sequence.restore(tensors | {name: tensors[name][:-1]}, config, world.items)
