-- a trial that was killed leaves the points it had come to, until an attempt at it finishes
with kept as (
    select *, true as is_attempt_finished from ({{ of_last_attempt('curves') }})
    union all
    select * from (
        select landed.*, false as is_attempt_finished
        from {{ source('raw', 'curves') }} as landed
        anti join {{ ref('stg_attempts') }} as attempts
            on landed.unit_kind = attempts.unit_kind and landed.unit_id = attempts.unit_id
        qualify landed.attempt = max(landed.attempt) over (partition by landed.unit_kind, landed.unit_id)
    )
)

select * replace ({{ finite('value') }} as value), value is null or isfinite(value) as is_finite
from kept
