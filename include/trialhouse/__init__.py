"""Trialhouse: a warehouse of deep-learning trials.

The domain. It imports no Airflow, no dbt and no Great Expectations: `operators/` and `dags/` wire those to it.
"""

__version__ = "0.1.0"
