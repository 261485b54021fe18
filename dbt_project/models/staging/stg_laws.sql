select *
from {{ source('raw', 'laws') }}
qualify row_number() over (partition by law_id order by fitted_at desc) = 1
