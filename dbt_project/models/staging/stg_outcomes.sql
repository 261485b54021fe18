select
    unit_id,
    unit_kind,
    attempt,
    outcome,
    {{ finite('value') }} as value,
    value is null or isfinite(value) as is_finite,
    text,
    reason
from ({{ of_last_attempt('outcomes') }})
qualify row_number() over (partition by unit_kind, unit_id, outcome order by value) = 1
