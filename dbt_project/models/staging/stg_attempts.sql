select
    *,
    count(*) over (partition by unit_kind, unit_id) as attempts,
    min(started_at) over (partition by unit_kind, unit_id) as first_started_at
from {{ source('raw', 'attempts') }}
qualify row_number() over (partition by unit_kind, unit_id order by attempt desc, ended_at desc) = 1
