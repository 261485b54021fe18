select *
from {{ source('raw', 'study_versions') }}
qualify row_number() over (partition by study_id order by registered_at) = 1
