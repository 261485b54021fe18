select
    unit_id,
    unit_kind,
    metric,
    count(*) as samples,
    quantile_cont(value, 0.50) as p50,
    quantile_cont(value, 0.95) as p95,
    quantile_cont(value, 0.99) as p99
from {{ ref('stg_samples') }}
where isfinite(value)
group by unit_id, unit_kind, metric
