-- a version that is run again after another one of its name is registered again: it becomes the current one, its first time stays
select *, max(registered_at) over (partition by study_id) as last_registered_at
from {{ source('raw', 'study_versions') }}
qualify row_number() over (partition by study_id order by registered_at) = 1
