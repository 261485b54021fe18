select
    unit_id as weights_id,
    attempt,
    phase,
    split,
    step,
    metric,
    value,
    is_finite
from {{ ref('stg_curves') }}
where unit_kind = 'weights'
