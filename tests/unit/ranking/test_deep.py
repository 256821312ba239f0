"""What the deep ranker's fit and its serving arithmetic promise beyond the contract of rankers."""

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch

import example_world as world
from recray.features.vectorize import item_matrix
from recray.ranking import deep_kernel
from recray.ranking.deep import DeepRanker, fit
from recray.ranking.deep_fit import _batch, _statistics
from recray.ranking.deep_kernel import Kernel, Precision, multiplies_bytes
from recray.ranking.deep_network import Network, loss
from recray.schema import NO_ITEM, Objective
from recray.settings import DeepSettings

SMALL = DeepSettings(hidden=(24, 16), embedding_dim=8, dropout=0.5, epochs=3)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _network(config: DeepSettings = SMALL, unseen: Sequence[int] = ()) -> Network:
    torch.manual_seed(2)
    features = item_matrix(world.items())
    seen = ~np.isin(np.arange(world.N_TITLES), unseen)
    network = Network(features, _statistics(world.examples(50, 1), features), config, seen)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return network.eval()


@pytest.fixture(params=["held", "made"])
def halves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catalogues small enough for the halves of all titles, and ones beyond that."""
    if request.param == "made":
        monkeypatch.setattr(deep_kernel, "MOST_HELD", 0)


@pytest.mark.usefixtures("halves")
def test_serving_arithmetic_is_the_network() -> None:
    network, given = _network(), world.examples(9, 5)
    given.inputs.history[3] = NO_ITEM
    given.inputs.user[4] *= 1_000  # beyond what was seen: cut in both
    batch = _batch(given, np.arange(9), "cpu")
    with torch.inference_mode():
        wanted = torch.sigmoid(network(*batch.inputs)).numpy()
    kernel = Kernel.of(network.tensors(), world.items(), "float32")
    np.testing.assert_allclose(kernel.predict(given.inputs)[given.inputs.items >= 0], wanted, atol=2e-6)
    with torch.inference_mode():
        np.testing.assert_allclose(kernel.pool(given.inputs.history), network.taste(batch.inputs[3]).numpy(), atol=1e-6)


def test_bytes_order_candidates_as_floats_do() -> None:
    network, given = _network(DeepSettings(hidden=(64, 48, 32), embedding_dim=8)), world.examples(40, 5)
    tensors = network.tensors()
    exact = Kernel.of(tensors, world.items(), "float32").predict(given.inputs)
    rounded = Kernel.of(tensors, world.items(), "int8").predict(given.inputs)
    known = given.inputs.items >= 0
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(rounded[known], exact[known], atol=0.01)
    orders = [np.argsort(np.argsort(p[known][:, Objective.START])) for p in (exact, rounded)]
    assert np.corrcoef(orders)[0, 1] > 0.995


@pytest.mark.usefixtures("halves")
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_batch_ranks_as_its_requests_alone(precision: Precision) -> None:
    tensors = _network(DeepSettings(hidden=(64, 48, 32), embedding_dim=8)).tensors()
    kernel, given = Kernel.of(tensors, world.items(), precision), world.examples(40, 5)
    together = kernel.predict(given.inputs)
    for row in range(len(given)):
        alone = given.take(np.array([row]))
        np.testing.assert_array_equal(kernel.predict(alone.inputs)[0], together[row])


def test_a_layer_that_nothing_passes_is_the_same_in_bytes() -> None:
    tensors = _network(DeepSettings(hidden=(16, 8, 4), embedding_dim=8)).tensors()
    tensors["bias_0"] -= 1_000  # no value passes the second layer's rectifier
    given = world.examples(3, 5)
    found = [Kernel.of(tensors, world.items(), precision).predict(given.inputs) for precision in ("float32", "int8")]
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)


def test_first_layer_is_one_dense_layer_on_the_concatenation() -> None:
    network, given = _network(DeepSettings(hidden=(24,), embedding_dim=8)), world.examples(4, 5)
    user, match, item, history, request = _batch(given, np.arange(4), "cpu").inputs
    with torch.inference_mode():
        taste, embedded = network.taste(history)[request], network.embedding(network.row[item])
        parts = (
            network._standardized(user, "user")[request],
            taste,
            network._standardized(network.item_features[item], "item"),
            embedded,
            network._standardized(match, "match"),
            (taste * embedded).sum(dim=1, keepdim=True),
        )
        wanted = network.later[0](torch.relu(network.first(torch.cat(parts, dim=1))))
        torch.testing.assert_close(network(user, match, item, history, request), wanted)


def test_newer_titles_weigh_more_in_the_taste() -> None:
    network = _network()
    with torch.no_grad():
        network.attention.zero_()
        network.decay.fill_(1.0)
    kernel = Kernel.of(network.tensors(), world.items())
    history = np.array([[3, 9, NO_ITEM], [NO_ITEM, NO_ITEM, NO_ITEM], [3, world.N_TITLES, NO_ITEM]], np.int32)
    taste = kernel.pool(history)
    np.testing.assert_allclose(taste[0], (2 * kernel.embedding[3] + kernel.embedding[9]) / 3, atol=1e-6)
    assert np.all(taste[1] == 0)
    np.testing.assert_allclose(taste[2], kernel.embedding[3], atol=1e-6)  # a title newer than the catalogue is skipped


def test_titles_never_seen_share_a_row_and_get_the_mean_embedding() -> None:
    unseen = [number for number in range(world.N_TITLES) if number not in {4, 5}]
    network = _network(unseen=unseen)
    assert network.embedding.num_embeddings == 3
    table = network.tensors()["embedding"]
    assert table.shape == (world.N_TITLES, 8)
    assert not np.array_equal(table[4], table[5])
    np.testing.assert_allclose(table[unseen], np.tile((table[4] + table[5]) / 2, (len(unseen), 1)), atol=1e-7)


def test_processes_that_share_examples_know_the_same_titles() -> None:
    train, validation = world.examples(40, 1), world.examples(20, 2)
    halves = [
        fit(train, validation, world.items(), SMALL, seed=1, device="cpu", report=lambda figures: None, share=share)
        for share in (np.arange(0, 40, 2), np.arange(1, 40, 2))
    ]
    np.testing.assert_array_equal(*(half.tensors["user_mean"] for half in halves))
    assert not np.array_equal(*(half.tensors["weight_0"] for half in halves))


def test_unknown_outcomes_do_not_reach_the_loss() -> None:
    given = world.examples(6, 3)
    batch = _batch(given, np.arange(6), "cpu")
    logits = torch.randn(len(batch.slot), len(Objective), generator=torch.Generator().manual_seed(0))
    before = loss(logits, batch.labels, batch.weight, batch.slot, batch.shape, 0.5)
    assert torch.isfinite(before)
    moved = logits + 3 * torch.isnan(batch.labels)
    torch.testing.assert_close(loss(moved, batch.labels, batch.weight, batch.slot, batch.shape, 0.5), before)


def test_listwise_part_is_cross_entropy_over_the_candidates_of_a_request() -> None:
    logits = torch.zeros(5, len(Objective))
    logits[:, Objective.START] = torch.tensor([1.0, 2.0, 0.5, -1.0, 0.0])
    labels = torch.full((5, len(Objective)), torch.nan)
    labels[:, Objective.START] = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0])
    slot = torch.tensor([0, 1, 3, 4, 5])  # requests of three places; the first has two candidates
    first = torch.log_softmax(torch.tensor([1.0, 2.0]), 0)[0]
    second = torch.log_softmax(torch.tensor([0.5, -1.0, 0.0]), 0)[1:]

    def listwise(*weight: float) -> torch.Tensor:
        given = labels, torch.tensor(weight), slot, (2, 3)
        return loss(logits, *given, 1.0) - loss(logits, *given, 0.0)

    torch.testing.assert_close(listwise(1, 1, 1, 1, 1), -(first + second.mean()) / 2)
    torch.testing.assert_close(listwise(3, 1, 1, 1, 2), -(3 * first + (second[0] + 2 * second[1]) / 2) / 2)


def test_a_start_counts_its_weight_and_other_objectives_do_not() -> None:
    """Two starts of weight 2 instead of 1 double their part of the pointwise loss, and nothing else of it."""
    logits, slot = torch.zeros(4, len(Objective)), torch.arange(4)
    labels = torch.ones(4, len(Objective))
    labels[2:, Objective.START] = 0
    plain = loss(logits, labels, torch.ones(4), slot, (1, 4), 0.0)
    weighed = loss(logits, labels, torch.tensor([2.0, 2.0, 1.0, 1.0]), slot, (1, 4), 0.0)
    torch.testing.assert_close(weighed - plain, torch.log(torch.tensor(2.0)) / 2)


def test_fit_reports_each_epoch_and_keeps_the_best() -> None:
    reports: list[dict[str, float]] = []
    train, validation = world.examples(150, 1), world.examples(60, 2)
    config = DeepSettings(hidden=(24, 16), embedding_dim=8, epochs=12, learning_rate=0.03)
    ranker = fit(train, validation, world.items(), config, seed=1, device="cpu", report=reports.append)
    assert [r["epoch"] for r in reports] == list(range(1, len(reports) + 1))
    best = max(reports, key=lambda r: r["ndcg"])
    assert len(reports) == min(best["epoch"] + 2, 12)
    kept = fit(
        train,
        validation,
        world.items(),
        config.model_copy(update={"epochs": int(best["epoch"])}),
        seed=1,
        device="cpu",
        report=lambda figures: None,
    )
    np.testing.assert_array_equal(kept.predict(validation.inputs), ranker.predict(validation.inputs))


def test_fit_wraps_the_network_it_steps() -> None:
    wrapped: list[torch.nn.Module] = []

    class Counted(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner, self.calls = inner, 0

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.inner(*inputs)

    def wrap(network: torch.nn.Module) -> torch.nn.Module:
        wrapped.append(Counted(network))
        return wrapped[0]

    config = SMALL.model_copy(update={"epochs": 1, "batch_size": 10})
    silent = {"seed": 1, "device": "cpu", "report": lambda figures: None}
    fit(world.examples(35, 1), world.examples(10, 2), world.items(), config, wrap=wrap, **silent)
    assert wrapped[0].calls == 4


def test_ranking_with_a_fitted_network_does_not_import_torch() -> None:
    code = "import sys, recray.ranking.deep; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_products_of_bytes_are_known_without_torch_as_torch_knows_them() -> None:
    assert multiplies_bytes() == torch.cpu._is_vnni_supported()


def test_many_threads_may_predict_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    kernel = Kernel.of(_network().tensors(), world.items())
    ranker, inputs = DeepRanker({}, kernel), [world.examples(4, seed).inputs for seed in range(12)]
    alone = [ranker.predict(one) for one in inputs]
    with ThreadPoolExecutor(4) as pool:
        for got, wanted in zip(pool.map(ranker.predict, inputs), alone, strict=True):
            np.testing.assert_array_equal(got, wanted)
