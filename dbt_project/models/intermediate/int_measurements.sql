{# Outcomes that every study shares get a column of their own here; others stay in rows (fct_outcomes). #}
{% set weights_outcomes = ['accuracy', 'loss', 'accuracy_before_finetuning', 'parameters', 'nonzero_parameters', 'flops', 'flops_share'] %}
{% set trial_outcomes = [
    'peak_memory_bytes', 'memory_utilisation', 'load_ms', 'throughput_images_per_s', 'loading_ms', 'accuracy_as_served',
    'latency_ms', 'latency_p95_ms', 'latency_p99_ms'
] %}
select
    unit_id,
    unit_kind,
    {% for outcome in weights_outcomes + trial_outcomes %}
    max(value) filter (where outcome = '{{ outcome }}') as {{ outcome }},
    {% endfor %}
    bool_or(not is_finite) as has_non_finite
from {{ ref('stg_outcomes') }}
group by unit_id, unit_kind
