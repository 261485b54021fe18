select *
from {{ source('raw', 'estimates') }}
qualify row_number() over (partition by estimate_id order by estimated_at desc) = 1
