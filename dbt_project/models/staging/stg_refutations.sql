select *
from {{ source('raw', 'refutations') }}
qualify row_number() over (partition by estimate_id, refuter order by refuted_at desc) = 1
