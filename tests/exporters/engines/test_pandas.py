"""DuckDB and pyarrow do not load pandas, and scikit-learn may again."""

import subprocess
import sys

QUERY = "duckdb.connect().execute('SELECT ?, ?::VARCHAR[]', [1, ['a']]).fetchall() == [(1, ['a'])]"


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", f"import sys, duckdb; {code}"], check=True)


def test_pandas_is_left_out_until_it_is_allowed() -> None:
    out = "from dnsvigil.engines.pandas import allow_pandas, leave_out_pandas; leave_out_pandas()"
    run(f"{out}; assert {QUERY}; assert 'pandas' not in sys.modules")
    run(f"{out}; allow_pandas(); allow_pandas(); import pandas; leave_out_pandas(); assert sys.modules['pandas']")


def test_pyarrow_does_without() -> None:
    out = "from dnsvigil.engines.pandas import leave_out_pandas; leave_out_pandas()"
    run(f"{out}; import pyarrow; assert pyarrow.array(['a']).to_pylist() == ['a']; assert 'pandas' not in sys.modules")


def test_a_command_runs_without_pandas() -> None:
    run(
        "from dnsvigil.cli.main import main\n"
        "assert main(['--state', '/nowhere', 'findings']) == 1\n"
        "assert 'pandas' not in sys.modules"
    )
