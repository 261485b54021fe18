"""kill -9 of the loader at random moments, again and again: every file exactly once, with its content, in the end."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import duckdb

from tests.trialhouse.warehouse.test_loader import expected, flip, land_samples, load_landed, samples, trial
from trialhouse.settings import Settings

FILES = 300
ROWS = 40
KILLS = 12
LOADER = """
import sys
from pathlib import Path
from trialhouse.settings import Settings
from trialhouse.warehouse import loader

load_batch = loader._load_batch
def told(*arguments):
    print("next transaction", flush=True)
    return load_batch(*arguments)

loader._load_batch, loader.FILES_PER_TRANSACTION = told, 8
print("started", flush=True)
loader.load_landed(Settings(home=Path(sys.argv[1])))
"""


def test_kills_lose_and_double_nothing(home: Settings) -> None:
    rng = random.Random(20261122)
    paths = [land_samples(home, number, rows=ROWS) for number in range(FILES)]
    bad = rng.sample(range(FILES), 5)
    for number in bad:
        flip(paths[number], 100)

    counts = []
    while len(counts) < KILLS:
        loader = subprocess.Popen([sys.executable, "-c", LOADER, str(home.home)], stdout=subprocess.PIPE, text=True)
        assert loader.stdout is not None
        for _ in range(rng.randint(1, 4)):
            loader.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.1))
        loader.kill()
        loader.wait()
        loader.stdout.close()
        counts.append(_files_and_rows(home))
        files, rows = counts[-1]
        assert rows == files * ROWS  # rows and ledger never part, at whatever point it died
    assert counts == sorted(counts)
    assert any(0 < files < FILES - len(bad) for files, _ in counts), f"no kill hit a load in progress: {counts}"

    load_landed(home)
    good = [number for number in range(FILES) if number not in bad]
    assert samples(home) == expected(good, rows=ROWS)
    with duckdb.connect(str(home.writer_database), read_only=True) as connection:
        ledger = connection.execute("SELECT path, status, count(*) FROM raw.load_ledger GROUP BY ALL").fetchall()
    assert {(path, status) for path, status, _ in ledger} == {
        (f"samples/{paths[number].name}", "quarantined" if number in bad else "loaded") for number in range(FILES)
    }
    assert all(count == 1 for *_, count in ledger)
    quarantined = {path.name for path in (home.landing_dir / "quarantine" / "samples").iterdir()}
    assert quarantined == {f"{trial(number)}.1.0.parquet" for number in bad}


def _files_and_rows(home: Settings) -> tuple[int, int]:
    if not Path(home.writer_database).exists():
        return 0, 0
    with duckdb.connect(str(home.writer_database)) as connection:
        tables = {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'raw'").fetchall()}
        if not {"load_ledger", "samples"} <= tables:  # killed while it made them
            return 0, 0
        return connection.execute(
            "SELECT (SELECT count(*) FROM raw.load_ledger WHERE status = 'loaded'), (SELECT count(*) FROM raw.samples)"
        ).fetchall()[0]
