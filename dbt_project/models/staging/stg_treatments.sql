select *
from {{ source('raw', 'treatments') }}
semi join {{ ref('stg_study_versions') }} using (study_id)
qualify row_number() over (partition by study_id, trial_id, factor order by assigned) = 1
